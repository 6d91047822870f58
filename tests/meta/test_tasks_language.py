"""The published language models: sizes, loss, corpora and errors for bad input."""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import SPLITS, DatasetNotFoundError, TextData
from celo.meta.tasks import RecurrentLM, TransformerLM, make
from celo.meta.tasks.recurrent_lm import RNN_LM_TASKS
from celo.meta.tasks.transformer_lm import TRANSFORMER_LM_TASKS
from tests.meta.dataset_files import write_text
from tests.meta.language_models import documents

LANGUAGE_TASKS = RNN_LM_TASKS | TRANSFORMER_LM_TASKS


def facts(shared_path):
    tasks = json.loads(shared_path("facts/velodrome.json").read_text())["tasks"]
    return {name: fact for name, fact in tasks.items() if fact["family"] in ("rnn_lm", "transformer_lm")}


@pytest.mark.parametrize("name", LANGUAGE_TASKS)
def test_published_sizes(name, shared_path):
    fact, entry = facts(shared_path)[name], LANGUAGE_TASKS[name]
    shapes = entry.parameter_shapes()
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == fact["param_count"]
    task: Any = entry.blank(name)
    assert task.name == name
    assert entry.family == fact["family"]
    assert (task.length, task.batch_size) == (fact["sequence_length"], fact["batch_size"])
    assert task.vocab_size == fact["vocab_size"]
    net = fact["architecture"]
    if entry.family == "rnn_lm":
        theirs = (net["core"], net["hidden_size"], net["embedding_size"])
        assert (task.core, task.hidden, task.embedding) == theirs
    else:
        theirs = (net["num_layers"], net["num_heads"], net["d_model"], net["dropout_rate"])
        assert (task.num_layers, task.num_heads, task.d_model, task.dropout) == theirs


def test_mask_arithmetic_by_hand(key):
    """Two sequences of three: the input's padding decides what counts, and the mean is over what counts."""
    task = RecurrentLM.of(documents(length=3, vocab_size=5), length=3, embedding=2, hidden=2, batch_size=2)
    params = jax.tree.map(jnp.zeros_like, task.init(key)[0])
    bias = np.log([1.0, 2.0, 3.0, 4.0, 10.0])  # logits of every position: 1, 2, 3, 4, 10 of 20
    params["linear_0"]["b"] = jnp.asarray(bias, jnp.float32)
    batch = {"input": jnp.array([[4, 3, 0], [2, 0, 0]]), "target": jnp.array([[3, 0, 0], [0, 0, 1]])}
    loss, state, aux = task.loss(params, (), key, batch)
    expected = (math.log(20 / 4) + math.log(20 / 1) + math.log(20 / 1)) / 3
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(aux["bits_per_token"], expected / math.log(2), rtol=1e-6)
    assert state == ()


def initial_loss(entry, key, batch_size=4):
    """Loss at the start on uniform random tokens, at the published sizes."""
    task: Any = entry.blank("")
    tokens = jax.random.randint(key, (batch_size, task.length + 1), 1, task.vocab_size)
    batch = {"input": tokens[:, :-1], "target": tokens[:, 1:]}
    loss = jax.jit(lambda key: task.loss(task.init(key)[0], (), key, batch)[0])
    return float(np.mean([loss(k) for k in jax.random.split(key, 3)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("RNNLM_lm1bbytes_Patch32_LSTM128_Embed64", 0.03),
        ("RNNLM_lm1bbytes_Patch32_GRU128_Embed64", 0.03),
        ("TransformerLM_LM1B_MultiRuntime_0", 0.02),
        ("TransformerLM_LM1B_MultiRuntime_5", 0.02),
        ("RNNLM_lm1b32k_Patch32_VanillaRNN256_Embed128", 0.02),
        ("RNNLM_lm1bbytes_Patch32_IRNN128_Embed64", 0.15),  # its states grow, and so does the spread
    ],
)
def test_initial_loss_is_the_published_one(name, tolerance, key, shared_path):
    published = facts(shared_path)[name]["baseline_envelope_train_loss_multi"]["0"]
    np.testing.assert_allclose(initial_loss(LANGUAGE_TASKS[name], key), published, rtol=tolerance)


def corpus(length, vocab_size=50):
    """Splits whose tokens count up, each from its own start."""
    splits = {split: (np.arange(length) % 9 + 10 * i + 1).astype(np.uint16) for i, split in enumerate(SPLITS)}
    return TextData("corpus", splits, vocab_size, "bytes", "bytes")


def test_windows_are_passages_of_their_split(key):
    task = RecurrentLM.of(corpus(9), length=6, batch_size=200)
    assert (task.corpus, task.vocabulary) == ("corpus", "bytes")
    for i, split in enumerate(SPLITS):
        batch = task.batch(key, split)
        window = np.concatenate([batch["input"], np.asarray(batch["target"])[:, -1:]], axis=1)
        np.testing.assert_array_equal(batch["target"][:, :-1], batch["input"][:, 1:])
        # every start, the first and the last one included
        passages = {tuple(range(10 * i + 1 + start, 10 * i + 8 + start)) for start in range(3)}
        assert set(map(tuple, window.tolist())) == passages


def test_normalizer():
    ceiling = 1.5 * math.log(50)
    losses = jnp.array([-1.0, 2.0, 100.0, jnp.inf, -jnp.inf, jnp.nan])
    found = RecurrentLM.of(corpus(50)).normalizer(losses)
    np.testing.assert_allclose(found, [0, 2, ceiling, ceiling, 0, ceiling], rtol=1e-6)


def test_batches_are_documents_of_their_split(key):
    data = documents()
    task = TransformerLM.of(data, length=4, batch_size=200)
    for split in SPLITS:
        batch = task.batch(key, split)
        np.testing.assert_array_equal(batch["target"][:, :-1], batch["input"][:, 1:])
        drawn = np.concatenate([batch["input"], batch["target"][:, -1:]], axis=1)
        assert set(map(tuple, drawn.tolist())) == set(map(tuple, data.splits[split][:, :5].tolist()))
    assert task.data.splits["train"].arrays["token"].dtype == jnp.uint16


def test_another_corpus_by_name(tmp_path):
    folder = tmp_path / "karpathy" / "tiny_shakespeare"
    write_text(folder, "train", [f"to be or not {i}" for i in range(30)])
    write_text(folder, "test", ["that is the question"])
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    name = "TransformerLM_LM1B_MultiRuntime_0"
    task: Any = make(name, **folders, lm_corpus="tiny_shakespeare")
    assert task.name == name
    assert task.vocab_size == 32_100
    assert task.data_note.startswith("tiny_shakespeare (karpathy/tiny_shakespeare), 30 lines")
    assert task.corpus == "tiny_shakespeare"
    assert task.vocabulary == "byte-pair encoding of 32,100 ids trained on the corpus"
    assert jax.tree.structure(task).num_leaves == 8  # tokens and their number, four times
    with pytest.raises(ValueError, match=r"'shakespeare'\. Did you mean 'tiny_shakespeare'"):
        make(name, **folders, lm_corpus="shakespeare")


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "name", ["TransformerLM_LM1B_MultiRuntime_0", "RNNLM_wikipediaen32k_Patch32_LSTM256_Embed128"]
)
def test_nothing_takes_the_place_of_a_missing_corpus(name, tmp_path):
    with pytest.raises(DatasetNotFoundError, match="another corpus, by lm_corpus"):
        make(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (RecurrentLM, {"core": "LSTN"}, r"Unknown recurrent core 'LSTN'. Did you mean 'LSTM'"),
        (RecurrentLM, {"hidden": 0}, "hidden must be .* at least 1, got 0"),
        (RecurrentLM, {"embedding": 2.0}, "embedding must be .* got 2.0"),
        (RecurrentLM, {"batch_size": -1}, "batch_size must be .* got -1"),
        (RecurrentLM, {"length": 0}, "length must be .* got 0"),
        (TransformerLM, {"num_heads": 0}, "num_heads must be .* at least 1, got 0"),
        (TransformerLM, {"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        (TransformerLM, {"length": 7}, "ours train has 7 tokens a document; needed are over 7"),
    ],
)
def test_bad_configuration(kind, config, message):
    with pytest.raises(ValueError, match=message):
        kind.of(documents(), **{"length": 6, **config})
