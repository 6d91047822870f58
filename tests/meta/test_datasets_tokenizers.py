"""Vocabularies of sub-words: training, published ones, and their cache."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.data import (
    SPLITS,
    ByteTokenizer,
    DatasetNotFoundError,
    LearnedSubwords,
    PublishedSubwords,
    load_documents,
)
from celo.meta.data.text import KEPT
from celo.meta.data.tokenizers import Subwords
from tests.meta.dataset_files import WIKITEXT, sentences, write_text, write_wikitext


@pytest.fixture
def folders(tmp_path):
    return write_wikitext(tmp_path)


@pytest.fixture(scope="module")
def encoder():
    return LearnedSubwords(vocab_size=400).fit(sentences(200))


class Spy(LearnedSubwords):
    """A vocabulary that remembers what it was trained on."""

    seen: list[list[str]]

    def fit(self, texts):
        self.seen.append(list(texts))
        return super().fit(self.seen[-1])


@pytest.fixture
def spy():
    spy = Spy(300, 50)
    object.__setattr__(spy, "seen", [])  # the dataclass is frozen
    return spy


def test_the_vocabulary_sees_the_train_split_alone_and_is_cached(spy, folders):
    first = load_documents("wikitext2", spy, **folders)
    of_bytes = load_documents("wikitext2", ByteTokenizer(), **folders)
    assert set(spy.seen[0]) == {ByteTokenizer().decode(row) for row in of_bytes.splits["train"]}
    second = load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 1
    assert (first.note, first.vocabulary) == (second.note, second.vocabulary)
    for split in SPLITS:
        np.testing.assert_array_equal(first.splits[split], second.splits[split])
    write_text(folders["data_dir"].joinpath(*WIKITEXT), "train", sentences(120))
    load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 2  # the corpus changed


@pytest.mark.parametrize(
    ("array", "spoil"),
    [
        ("train_documents", lambda a: np.where(np.arange(KEPT)[None] == 1, np.uint16(0), a)),  # a hole
        ("train_documents", lambda a: np.full_like(a, 300)),
        ("test_documents", lambda a: a[:, :5]),
        ("tokenizer", lambda a: a[: len(a) // 2]),
        ("tokenizer", lambda a: np.full(100_000, ord("["), np.uint8)),  # nested too deep
        ("num_pieces", lambda a: a * 0),
    ],
)
def test_a_cache_that_cannot_be_ours_is_rebuilt(array, spoil, spy, folders):
    whole = load_documents("wikitext2", spy, **folders)
    (path,) = folders["cache_dir"].glob(f"*.{array}.npy")
    intact = path.read_bytes()
    np.save(path, spoil(np.load(path)))
    with pytest.warns(UserWarning, match="corrupt"):
        again = load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 2
    np.testing.assert_array_equal(again.splits["train"], whole.splits["train"])
    assert path.read_bytes() == intact
    assert not [left for left in folders["cache_dir"].iterdir() if left.suffix != ".npy"]


@given(st.text() | st.just("<pad></s><unk>"))
def test_subwords_are_of_the_vocabulary_and_lose_nothing_but_space(encoder, text):
    (ids,) = encoder.encode_batch([text])
    assert all(3 <= token < 400 for token in ids)
    assert encoder.decode(ids) == text.strip()


def test_training_is_deterministic_and_learns_words(encoder):
    again = LearnedSubwords(vocab_size=400).fit(sentences(200))
    assert again.content() == encoder.content()
    assert [encoder.piece(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert len(encoder.encode_batch(["alpha beta"])[0]) == 2
    assert encoder.num_pieces < 400  # too small a corpus for more
    limited = LearnedSubwords(vocab_size=400, training_documents=20).fit(sentences(200))
    assert limited.num_pieces < encoder.num_pieces


def test_a_published_tokenizer(encoder, folders, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(encoder.content())
    vocabulary = PublishedSubwords(str(file))
    data = load_documents("wikitext2", vocabulary, **folders)
    assert data.vocab_size == 32_100
    assert re.fullmatch(r"tokenizer\.json \(SHA-256 \w{12}\)", data.vocabulary)
    assert f"{data.vocabulary} of 32,100 ids, {encoder.num_pieces} of them in use" in data.note
    decoded = [encoder.decode(row) for row in data.splits["test"]]
    assert decoded == [text.strip() for text in sentences(7, "test")]
    name, title = vocabulary.name, vocabulary.title
    file.write_bytes(LearnedSubwords(vocab_size=300).fit(sentences(50)).content())
    assert vocabulary.name != name  # the cache goes by the content of a file
    assert vocabulary.title != title


def test_tokenizers_that_do_not_serve(encoder, tmp_path, monkeypatch):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(encoder.content())
    with pytest.raises(ValueError, match=r"has \d+ ids; the task has 259"):
        PublishedSubwords(str(file), 259).fit([])
    file.write_bytes(encoder.content().replace(b"<pad>", b"first"))
    with pytest.raises(ValueError, match=r"id 0 of the tokenizer .* must be padding.*got 'first'"):
        PublishedSubwords(str(file)).fit([])

    def unreachable(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("celo.meta.data.tokenizers._fetch", unreachable)
    with pytest.raises(DatasetNotFoundError, match=r"'google-t5/t5-small' is not a file, and .*no route"):
        PublishedSubwords("google-t5/t5-small").fit([])
    with pytest.raises(ValueError, match=r"vocab_size must be 259 .. 65536, got 258"):
        LearnedSubwords(258)
    with pytest.raises(ValueError, match="training_documents must be at least 1, got 0"):
        LearnedSubwords(training_documents=0)


def test_real_text(shared_path, tmp_path):
    """The validation file of WikiText-2 learns a vocabulary that says the test file in fewer tokens."""
    folders = {"data_dir": shared_path("data"), "cache_dir": tmp_path}
    data = load_documents("wikitext2_valid", LearnedSubwords(1000, 300), **folders)
    assert [len(data.splits[split]) for split in SPLITS] == [1969, 246, 246, 2891]
    (path,) = tmp_path.glob("*.tokenizer.npy")
    encoder = Subwords(np.load(path).tobytes())
    assert encoder.num_pieces == 1000
    assert encoder.decode(data.splits["test"][0]) == "= Robert <unk> ="
    long = next(row for row in data.splits["test"] if row[-1])
    assert len(encoder.decode(long).encode()) > 2 * KEPT
