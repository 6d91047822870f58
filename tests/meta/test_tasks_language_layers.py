"""The layers of language models written out in numpy, what each position sees, dropout and initial values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.tasks import RecurrentLM, TransformerLM
from celo.meta.tasks.recurrent_lm import CORES
from celo.meta.tasks.transformer_lm import _drop
from tests.meta.language_models import documents, transformer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_by_hand(weights, inputs):
    h = weights["initial"]
    size = len(h)
    for x in inputs:
        of_input, w = x @ weights["w_i"] + weights["b"], weights["w_h"]
        update = sigmoid(of_input[:size] + h @ w[:, :size])
        reset = sigmoid(of_input[size : 2 * size] + h @ w[:, size : 2 * size])
        h = (1 - update) * h + update * np.tanh(of_input[2 * size :] + (reset * h) @ w[:, 2 * size :])
        yield h


def lstm_by_hand(weights, inputs):
    size = len(weights["initial_h"])
    h, c = weights["initial_h"], weights["initial_c"]
    for x in inputs:
        gates = np.concatenate([x, h]) @ weights["w"] + weights["b"]
        i, g, f, o = (gates[k * size : (k + 1) * size] for k in range(4))
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


def vanilla_by_hand(weights, inputs):
    h = weights["initial"]
    for x in inputs:
        h = np.maximum(x @ weights["w_i"] + weights["b_i"] + h @ weights["w_h"] + weights["b_h"], 0)
        yield h


BY_HAND = {"GRU": gru_by_hand, "LSTM": lstm_by_hand, "VanillaRNN": vanilla_by_hand, "IRNN": vanilla_by_hand}


@pytest.mark.parametrize(("core", "by_hand"), BY_HAND.items())
def test_recurrent_cores_written_out(core, by_hand, key):
    weights = jax.tree.map(lambda leaf: leaf + 0.1, CORES[core].init(jax.random.split(key), 3, 4))
    inputs = jax.random.normal(key, (6, 2, 3))
    states = CORES[core].run(weights, inputs)
    exact = jax.tree.map(np.float64, weights)
    for b in range(2):
        np.testing.assert_allclose(states[:, b], list(by_hand(exact, np.float64(inputs[:, b]))), rtol=2e-6)


def norm_by_hand(layer, x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * layer["scale"] + layer["offset"]


def linear_by_hand(layer, x):
    return x @ layer["w"] + layer["b"]


def attention_by_hand(part, xs, tokens, num_heads):
    """One sequence, one head and one query at a time."""
    q, k, v = ([linear_by_hand(part(name), x) for x in xs] for name in ("query", "key", "value"))
    for t in range(len(xs)):
        seen = [s for s in range(t + 1) if tokens[s]]
        heads = []
        for head in (slice(32 * i, 32 * i + 32) for i in range(num_heads)):
            scores = np.exp([q[t][head] @ k[s][head] / math.sqrt(32) for s in seen])
            heads.append(scores / scores.sum() @ [v[s][head] for s in seen])
        yield linear_by_hand(part("attention"), np.concatenate(heads))


def gelu_by_hand(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_transformer_written_out(key):
    task = transformer()
    params = jax.tree.map(lambda leaf: leaf + 0.05, task.init(key)[0])
    tokens = task.data.splits["train"].arrays["token"][:5, :6].astype(jnp.int32)
    logits = task.logits(params, key, tokens.T)
    exact = jax.tree.map(np.float64, params)
    for b in range(5):
        xs = [exact["embedding"]["w"][token] for token in np.asarray(tokens[b])]
        for i in range(2):
            part = {name: exact[f"block_{i}_{name}"] for name in _parts(params, i)}.__getitem__
            normal = [norm_by_hand(part("attention_norm"), x) for x in xs]
            attended = attention_by_hand(part, normal, tokens[b], task.num_heads)
            xs = [x + y for x, y in zip(xs, attended, strict=True)]
            wide = [
                gelu_by_hand(linear_by_hand(part("mlp_in"), norm_by_hand(part("mlp_norm"), x))) for x in xs
            ]
            xs = [x + linear_by_hand(part("mlp_out"), y) for x, y in zip(xs, wide, strict=True)]
        expected = [linear_by_hand(exact["linear_0"], norm_by_hand(exact["norm"], x)) for x in xs]
        real = np.asarray(tokens[b]) != 0
        np.testing.assert_allclose(logits[real, b], np.array(expected)[real], rtol=1e-4, atol=1e-5)


def _parts(params, block):
    return [name.removeprefix(f"block_{block}_") for name in params if name.startswith(f"block_{block}_")]


def test_dropout(key):
    x = jnp.ones((100, 10, 10))
    dropped = np.asarray(_drop(key, x, 0.1))
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.9)}
    np.testing.assert_allclose(np.mean(dropped == 0), 0.1, atol=0.01)
    keys = jax.random.split(key)
    for rate, alike in ((0.0, True), (0.1, False)):
        task = transformer(rate)
        params, batch = task.init(key)[0], task.batch(key, "train")
        losses = [float(task.loss(params, (), k, batch)[0]) for k in keys]
        assert (losses[0] == losses[1]) is alike


def test_initial_scales_of_the_gru(key):
    task = RecurrentLM.of(documents(vocab_size=259), length=6, embedding=64, hidden=128)
    params = task.init(key)[0]
    np.testing.assert_allclose(params["embedding"]["w"].std(), 0.8796, rtol=0.02)  # cut at two, not rescaled
    np.testing.assert_allclose(params["gru"]["w_i"].std(), 1 / 8, rtol=0.02)  # cut and rescaled
    np.testing.assert_allclose(params["gru"]["w_h"].std(), 1 / math.sqrt(128), rtol=0.02)
    for zero in (params["gru"]["b"], params["gru"]["initial"], params["linear_0"]["b"]):
        np.testing.assert_array_equal(zero, 0)


def test_initial_scales_of_the_transformer(key):
    task = TransformerLM.of(documents(vocab_size=500), length=6, num_layers=4, d_model=64, num_heads=5)
    params = task.init(key)[0]
    block = math.sqrt(2 / 4)
    for part, fan_in in (("query", 64), ("attention", 160), ("mlp_in", 64), ("mlp_out", 256)):
        np.testing.assert_allclose(params[f"block_3_{part}"]["w"].std(), block / math.sqrt(fan_in), rtol=0.03)
    np.testing.assert_allclose(params["embedding"]["w"].std(), 0.8796, rtol=0.02)
    np.testing.assert_allclose(params["linear_0"]["w"].std(), 0.8796 / 8, rtol=0.02)
