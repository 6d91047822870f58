"""Documents as rows of tokens, the vocabularies they are made of, and the cache of both."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.data import (
    SPLITS,
    ByteTokenizer,
    DatasetFormatError,
    DatasetNotFoundError,
    LearnedSubwords,
    PublishedSubwords,
    load_documents,
)
from celo.meta.data.documents import KEPT
from celo.meta.data.subwords import Bytes, Subwords
from tests.meta.dataset_files import write_text

WIKITEXT = ("Salesforce", "wikitext", "wikitext-2-v1")
SMALL = LearnedSubwords(vocab_size=300, training_documents=50)


def sentences(n, tail=""):
    """Different sentences of one word more each, up to ten."""
    return [" ".join(["alpha", "beta", "gamma", "delta"][j % 4] for j in range(i % 10)) + f" {i}{tail}"
            for i in range(n)]  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    write_text(folder, "train", sentences(100))
    write_text(folder, "test", sentences(7, "test"))
    return {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}


@pytest.fixture(scope="module")
def encoder():
    return LearnedSubwords(vocab_size=400).fit(sentences(200))


def decode(row):
    return ByteTokenizer().decode(row)


def test_documents_are_cut_and_padded_at_the_end(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    write_text(folder, "train", [f"  {i} " for i in range(20)] + ["", " \n"])
    write_text(folder, "test", ["ab", "abcdefgh", "", "é" * 3000])
    data = load_documents("wikitext2", Bytes(), length=4, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    a = ByteTokenizer().encode("abcdé")
    rows = [[a[0], a[1], 0, 0, 0], [*a[:4], a[0] + 4], [*a[4:], *a[4:], a[4]]]
    assert data.splits["test"].tolist() == rows
    assert data.splits["test"].dtype == np.uint16
    assert (data.vocab_size, data.tokenizer) == (259, "bytes")
    train = sorted(int(decode(row)) for split in SPLITS[:3] for row in data.splits[split])
    assert train == list(range(20))  # nothing but the empty ones is missing


def test_a_shorter_length_is_a_prefix_of_a_longer_one(folders):
    long, short = (load_documents("wikitext2", SMALL, length=n, **folders).splits for n in (9, 3))
    for split in SPLITS:
        np.testing.assert_array_equal(long[split][:, :4], short[split])


def test_splits_are_disjoint_shuffled_and_complete(folders):
    splits = load_documents("wikitext2", Bytes(), **folders).splits
    texts = {split: [decode(row) for row in splits[split]] for split in SPLITS}
    assert [len(texts[split]) for split in SPLITS] == [80, 10, 10, 7]
    seen = [text for split in SPLITS for text in texts[split]]
    assert len(set(seen)) == len(seen)
    assert set(seen) == {text.strip() for text in sentences(100) + sentences(7, "test")}
    kept = set(texts["train"])
    assert texts["train"] != [text.strip() for text in sentences(100) if text.strip() in kept]


@pytest.mark.parametrize(
    ("name", "place", "sizes"),
    [
        ("lm1b", ("billion-word-benchmark", "lm1b"), [294, 3, 3, 5]),  # 2% to 100%, 1%, 1%, the test file
        ("wikipedia20201201", ("wikipedia", "20201201.en"), [291, 3, 3, 3]),  # no test file
    ],
)
def test_published_splits(name, place, sizes, tmp_path):
    write_text(tmp_path.joinpath(*place), "train", sentences(300))
    if name == "lm1b":
        write_text(tmp_path.joinpath(*place), "test", sentences(5, "test"))
    splits = load_documents(name, Bytes(), data_dir=tmp_path, cache_dir=tmp_path / "cache").splits
    assert [len(splits[split]) for split in SPLITS] == sizes


def test_the_validation_file_in_the_place_of_the_train_file(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    for split, n in (("validation", 20), ("test", 3)):
        write_text(folder, split, sentences(n, split))
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    splits = load_documents("wikitext2_valid", Bytes(), **folders).splits
    assert all(decode(row).endswith("validation") for split in SPLITS[:3] for row in splits[split])
    assert [decode(row) for row in splits["test"]] == [text.strip() for text in sentences(3, "test")]
    with pytest.raises(DatasetNotFoundError, match=r"no train-\*.parquet.*wikitext2_valid reads"):
        load_documents("wikitext2", Bytes(), **folders)


def test_lines_are_documents_where_the_catalog_says_so(tmp_path):
    folder = tmp_path / "karpathy" / "tiny_shakespeare"
    write_text(folder, "train", ["\n".join(sentences(40)) + "\n\n"])
    write_text(folder, "test", ["First\n\nSecond\n"])
    data = load_documents("tiny_shakespeare", Bytes(), data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert [decode(row) for row in data.splits["test"]] == ["First", "Second"]
    assert "40 lines of its train file and 2 of its test file" in data.note


def test_a_cap_is_kept_and_noted(folders):
    data = load_documents("wikitext2", Bytes(), max_documents=50, **folders)
    kept = {decode(row) for split in SPLITS[:3] for row in data.splits[split]}
    assert kept == {text.strip() for text in sentences(50)}
    assert "50 documents" in data.note
    assert "at most the first 50 of a file" in data.note
    assert "Salesforce/wikitext/wikitext-2-v1" in data.note
    assert len(load_documents("wikitext2", Bytes(), **folders).splits["train"]) == 80  # a cache of its own


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
    assert set(spy.seen[0]) == {
        decode(row) for row in load_documents("wikitext2", Bytes(), **folders).splits["train"]
    }
    second = load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 1
    assert first.note == second.note
    for split in SPLITS:
        np.testing.assert_array_equal(first.splits[split], second.splits[split])
    write_text(folders["data_dir"].joinpath(*WIKITEXT), "train", sentences(120))
    load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 2  # the corpus changed


@pytest.mark.parametrize("array", ["tokenizer", "train_documents", "num_pieces"])
def test_a_damaged_cache_is_made_anew(array, spy, folders):
    whole = load_documents("wikitext2", spy, **folders)
    (path,) = folders["cache_dir"].glob(f"*.{array}.npy")
    intact = path.read_bytes()
    path.write_bytes(intact[: len(intact) - 2])
    with pytest.warns(UserWarning, match="corrupt"):
        again = load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 2
    np.testing.assert_array_equal(again.splits["train"], whole.splits["train"])
    assert path.read_bytes() == intact
    assert not [left for left in folders["cache_dir"].iterdir() if left.suffix != ".npy"]


@pytest.mark.parametrize(
    ("array", "spoil"),
    [
        ("train_documents", lambda a: np.where(np.arange(KEPT)[None] == 1, np.uint16(0), a)),  # a hole
        ("train_documents", lambda a: np.full_like(a, 300)),
        ("test_documents", lambda a: a[:, :5]),
        ("tokenizer", lambda a: a[: len(a) // 2]),
        ("num_pieces", lambda a: a * 0),
    ],
)
def test_a_cache_that_cannot_be_ours_is_not_used(array, spoil, spy, folders):
    load_documents("wikitext2", spy, **folders)
    (path,) = folders["cache_dir"].glob(f"*.{array}.npy")
    np.save(path, spoil(np.load(path)))
    with pytest.warns(UserWarning, match="corrupt"):
        load_documents("wikitext2", spy, **folders)
    assert len(spy.seen) == 2


@given(st.text())
def test_subwords_are_of_the_vocabulary_and_lose_nothing_but_space(encoder, text):
    (ids,) = encoder.encode([text])
    assert all(3 <= token < 400 for token in ids)
    assert encoder.decode(ids) == text.strip()


def test_special_tokens_in_a_text_are_text(encoder):
    (ids,) = encoder.encode(["<pad></s><unk>"])
    assert min(ids) >= 3
    assert encoder.decode(ids) == "<pad></s><unk>"


def test_training_is_deterministic_and_learns_words(encoder):
    again = LearnedSubwords(vocab_size=400).fit(sentences(200))
    assert again.content() == encoder.content()
    assert [encoder.piece(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert len(encoder.encode(["alpha beta"])[0]) == 2
    assert encoder.num_pieces < 400  # too small a corpus for more
    limited = LearnedSubwords(vocab_size=400, training_documents=20).fit(sentences(200))
    assert limited.num_pieces < encoder.num_pieces


def test_a_published_tokenizer(encoder, folders, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(encoder.content())
    vocabulary = PublishedSubwords(str(file))
    data = load_documents("wikitext2", vocabulary, **folders)
    assert data.vocab_size == 32_100
    words = (
        rf"; tokenizer of a file tokenizer\.json \(SHA-256 \w{{12}}\) of 32,100 ids, {encoder.num_pieces} of"
    )
    assert re.search(words, data.note)
    assert [encoder.decode(row) for row in data.splits["test"]] == [s.strip() for s in sentences(7, "test")]
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "tokenizer.json"
    copy.write_bytes(encoder.content())
    assert load_documents("wikitext2", PublishedSubwords(str(copy)), **folders).note == data.note
    name, note = vocabulary.name, vocabulary.note(300)
    file.write_bytes(LearnedSubwords(vocab_size=300).fit(sentences(50)).content())
    assert vocabulary.name != name  # the cache goes by the content of a file
    assert vocabulary.note(300) != note


def test_tokenizers_that_do_not_serve(encoder, tmp_path, monkeypatch):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(encoder.content())
    with pytest.raises(ValueError, match=r"has \d+ ids; the task has 259"):
        PublishedSubwords(str(file), 259).fit([])
    file.write_bytes(encoder.content().replace(b"<pad>", b"first"))
    with pytest.raises(ValueError, match="has 'first' as id 0, which has to be padding"):
        PublishedSubwords(str(file)).fit([])
    file.write_bytes(encoder.content()[:100])
    with pytest.raises(DatasetFormatError, match=r"is not a tokenizer.json"):
        PublishedSubwords(str(file)).fit([])

    def unreachable(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("celo.meta.data.subwords._fetch", unreachable)
    with pytest.raises(DatasetNotFoundError, match="'google-t5/t5-small' is neither a file nor"):
        PublishedSubwords("google-t5/t5-small").fit([])


def test_bad_input(folders, tmp_path):
    with pytest.raises(ValueError, match=r"Unknown text dataset 'lm1'\. Did you mean 'lm1b'"):
        load_documents("lm1", **folders)
    for length in (0, KEPT):
        with pytest.raises(ValueError, match=f"length must be 1 .. 128, got {length}"):
            load_documents("wikitext2", length=length, **folders)
    with pytest.raises(ValueError, match="max_documents must be at least 1, got 0"):
        load_documents("wikitext2", max_documents=0, **folders)
    with pytest.raises(ValueError, match="9 documents for training, too few to hold out 10%"):
        load_documents("wikitext2", Bytes(), max_documents=9, **folders)
    with pytest.raises(ValueError, match=r"vocab_size must be 259 .. 65536, got 258"):
        LearnedSubwords(258)
    with pytest.raises(ValueError, match="training_documents must be at least 1, got 0"):
        LearnedSubwords(training_documents=0)
    write_text(tmp_path.joinpath(*WIKITEXT), "train", [1, 2])
    with pytest.raises(DatasetFormatError, match="wikitext2 train row 0: expected a text, got 1"):
        load_documents("wikitext2", Bytes(), **folders)


def test_real_text(shared_path, tmp_path):
    """The validation file of WikiText-2 learns a vocabulary that says the test file in fewer tokens."""
    folders = {"data_dir": shared_path("data"), "cache_dir": tmp_path}
    data = load_documents("wikitext2_valid", LearnedSubwords(1000, 300), **folders)
    assert [len(data.splits[split]) for split in SPLITS] == [1969, 246, 246, 2891]
    (path,) = tmp_path.glob("*.tokenizer.npy")
    encoder = Subwords(np.load(path).tobytes())
    assert encoder.num_pieces == 1000
    first = data.splits["test"][0]
    assert encoder.decode(first) == "= Robert <unk> ="
    long = next(row for row in data.splits["test"] if row[-1])
    assert len(encoder.decode(long).encode()) > 2 * KEPT
