"""The recurrent language model and the windows it reads."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import SPLITS, TextData
from celo.meta.tasks import RecurrentLM, stack_tasks


def corpus(length, vocab_size=50, name="corpus"):
    """Splits whose tokens count up, each from its own start."""
    splits = {split: (np.arange(length) % 9 + 10 * i + 1).astype(np.uint16) for i, split in enumerate(SPLITS)}
    return TextData(name, splits, vocab_size, "bytes")


@pytest.fixture(scope="module")
def task():
    return RecurrentLM.of(corpus(100), embedding=3, hidden=4, length=6, batch_size=5)


@pytest.fixture(scope="module")
def params(task, key):
    """Parameters none of which is zero."""
    return jax.tree.map(lambda leaf: leaf + 0.05, task.init(key)[0])


@pytest.fixture(scope="module")
def batch(task, key):
    return task.batch(key, "train")


@pytest.fixture(scope="module")
def loss(task, key):
    """The loss and aux as compiled code."""
    return jax.jit(lambda params, batch: task.loss(params, (), key, batch)[::2])


def test_zero_weights_guess_uniformly(params, batch, loss):
    value, aux = loss(jax.tree.map(jnp.zeros_like, params), batch)
    np.testing.assert_allclose(value, math.log(50), rtol=1e-6)
    np.testing.assert_allclose(aux["bits_per_token"], math.log2(50), rtol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loss_by_loops(params, batch):
    """The recurrence and the loss, one token at a time."""
    table, gru, head = (jax.tree.map(np.float64, params[part]) for part in ("embedding", "gru", "linear_0"))
    width, total, count = len(gru["initial"]), 0.0, 0
    for tokens, targets in zip(*(np.asarray(batch[part]) for part in ("input", "target")), strict=True):
        state = gru["initial"]
        for token, target in zip(tokens, targets, strict=True):
            from_input = table["w"][token] @ gru["w_i"] + gru["b"]
            update = sigmoid(from_input[:width] + state @ gru["w_h"][:, :width])
            reset = sigmoid(from_input[width : 2 * width] + state @ gru["w_h"][:, width : 2 * width])
            candidate = np.tanh(from_input[2 * width :] + (reset * state) @ gru["w_h"][:, 2 * width :])
            state = (1 - update) * state + update * candidate
            logits = state @ head["w"] + head["b"]
            if token:
                total += np.log(np.exp(logits).sum()) - logits[target]
                count += 1
    return total / count


def test_loss_is_the_recurrence_written_out(params, batch, loss):
    np.testing.assert_allclose(loss(params, batch)[0], loss_by_loops(params, batch), rtol=1e-5)


def test_padding_does_not_count(params, batch, loss):
    lengths = np.array([6, 3, 1, 0, 5])
    kept = np.arange(6)[None] < lengths[:, None]
    padded = {part: jnp.where(kept, tokens, 0) for part, tokens in batch.items()}
    expected = loss_by_loops(params, padded)
    np.testing.assert_allclose(loss(params, padded)[0], expected, rtol=1e-5)
    other = {"input": padded["input"], "target": jnp.where(kept, batch["target"], 7)}
    np.testing.assert_allclose(loss(params, other)[0], expected, rtol=1e-5)
    nothing = jax.tree.map(jnp.zeros_like, padded)
    assert loss(params, nothing)[0] == 0


def test_windows_are_passages_of_their_split(task, key):
    many = RecurrentLM.of(corpus(9), length=6, batch_size=200)
    for i, split in enumerate(SPLITS):
        batch = many.batch(key, split)
        window = np.concatenate([batch["input"], np.asarray(batch["target"])[:, -1:]], axis=1)
        np.testing.assert_array_equal(batch["target"][:, :-1], batch["input"][:, 1:])
        passages = {tuple(range(10 * i + 1 + start, 10 * i + 8 + start)) for start in range(3)}
        assert (
            set(map(tuple, window.tolist())) == passages
        )  # every start, the first and the last one included


def test_corpora_of_different_length_stack(key):
    tasks = [RecurrentLM.of(corpus(n), embedding=3, hidden=4, length=6, batch_size=64) for n in (8, 50)]
    keys = jax.random.split(key, 2)
    batches = jax.vmap(lambda task, k: task.batch(k, "train"))(stack_tasks(tasks), keys)
    for i, task in enumerate(tasks):
        alone = task.batch(keys[i], "train")
        assert alone["input"].min() >= 1
        jax.tree.map(lambda one, many, i=i: np.testing.assert_array_equal(many[i], one), alone, batches)


def test_normalizer(task):
    ceiling = 1.5 * math.log(50)
    losses = jnp.array([-1.0, 2.0, 100.0, jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_allclose(task.normalizer(losses), [0, 2, ceiling, ceiling, 0, ceiling], rtol=1e-6)


def test_initial_scales(key):
    params, _ = RecurrentLM.of(corpus(100, vocab_size=259), embedding=64, hidden=128).init(key)
    np.testing.assert_allclose(params["embedding"]["w"].std(), 0.8796, rtol=0.02)  # cut at two, not rescaled
    np.testing.assert_allclose(params["gru"]["w_i"].std(), 1 / 8, rtol=0.02)  # cut and rescaled
    np.testing.assert_allclose(params["gru"]["w_h"].std(), 1 / math.sqrt(128), rtol=0.02)
    for zero in (params["gru"]["b"], params["gru"]["initial"], params["linear_0"]["b"]):
        np.testing.assert_array_equal(zero, 0)


def test_published_parameter_count(key, shared_path):
    facts = json.loads(shared_path("facts/velodrome.json").read_text())["tasks"]
    task = RecurrentLM.of(corpus(100, vocab_size=259), embedding=64, hidden=128)
    params = jax.eval_shape(lambda k: task.init(k)[0], key)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == facts["RNNLM_lm1bbytes_Patch32_GRU128_Embed64"]["param_count"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden": 0}, "hidden must be .* at least 1, got 0"),
        ({"embedding": 2.0}, "embedding must be .* got 2.0"),
        ({"batch_size": -1}, "batch_size must be .* got -1"),
        ({"length": 0}, "length must be .* got 0"),
        ({"length": 100}, "corpus train has 100 tokens; needed are over 100"),
    ],
)
def test_bad_configuration(config, message):
    with pytest.raises(ValueError, match=message):
        RecurrentLM.of(corpus(100), **config)
