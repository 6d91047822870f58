"""Text datasets: whole texts and documents as tokens, their splits, and errors for bad input."""

from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.data import (
    PAD,
    SPLITS,
    ByteTokenizer,
    DatasetFormatError,
    DatasetNotFoundError,
    load_documents,
    load_text,
)
from celo.meta.data.text import KEPT
from tests.meta.dataset_files import WIKITEXT, sentences, write_text, write_wikitext

BYTES = ByteTokenizer()


@pytest.fixture
def folders(tmp_path):
    return write_wikitext(tmp_path)


@given(st.text())
def test_bytes_round_trip_and_never_pad(text):
    tokens = BYTES.encode(text)
    assert tokens.dtype == np.uint16
    assert BYTES.decode(tokens) == text
    assert len(tokens) == len(text.encode())
    assert not np.any(tokens == PAD)
    assert not tokens.size or tokens.max() < BYTES.vocab_size == 259
    assert BYTES.decode(np.concatenate([[0, 1, 2], tokens, [0]])) == text  # special ids are left out


def test_pydoc_is_cut_without_gap_or_overlap(tmp_path):
    data = load_text("pydoc", cache_dir=tmp_path)
    whole = np.concatenate([data.splits[split] for split in SPLITS])
    text = "".join(topics[name] + "\n" * (not topics[name].endswith("\n")) for name in sorted(topics))
    assert BYTES.decode(whole) == text
    sizes = np.array([len(data.splits[split]) for split in SPLITS]) / len(whole)
    np.testing.assert_allclose(sizes, [0.72, 0.09, 0.09, 0.1], atol=1e-4)


def test_rows_end_with_one_line_break_and_the_test_file_is_used(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    write_text(folder, "train", ["one", "two\n", "", "three"] * 5)
    write_text(folder, "test", ["a test"])
    write_text(folder, "validation", ["never read"])
    data = load_text("wikitext2", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert "".join(BYTES.decode(data.splits[split]) for split in SPLITS[:3]) == "one\ntwo\n\nthree\n" * 5
    assert BYTES.decode(data.splits["test"]) == "a test\n"


def test_tiny_shakespeare(shared_path, tmp_path):
    data = load_text("tiny_shakespeare", data_dir=shared_path("data"), cache_dir=tmp_path)
    assert BYTES.decode(data.splits["train"][:14]) == "First Citizen:"
    sizes = [len(data.splits[split]) for split in SPLITS]
    assert 1_110_000 < sum(sizes) < 1_120_000
    assert sizes[0] == sum(sizes[:3]) * 80 // 100


class WordTokenizer:
    """A learned vocabulary in miniature."""

    def __init__(self, name="words", vocab_size=32_100):
        self.name, self.vocab_size = name, vocab_size

    def encode(self, text):
        words = {"one": 1, "two": 31_999, "three": 7}
        return np.array([words[word] for word in text.split()], np.uint16)


def test_another_tokenizer_has_its_own_cache_and_stays_in_its_vocabulary(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    for split in ("train", "test"):
        write_text(folder, split, ["one two three"] * 4)
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    with pytest.raises(ValueError, match=r"train_tokens run from 1 to 31999, expected 1 .. 99"):
        load_text("wikitext2", WordTokenizer("broken", 100), **folders)
    assert not (tmp_path / "cache").exists()
    for _ in range(2):
        words = load_text("wikitext2", WordTokenizer(), **folders)
        assert (words.vocab_size, words.tokenizer) == (32_100, "words")
        assert words.splits["test"].tolist() == [1, 31_999, 7] * 4
        assert load_text("wikitext2", **folders).splits["test"].size == 4 * len("one two three\n")


def test_documents_are_cut_and_padded_at_the_end(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    write_text(folder, "train", [f"  {i} " for i in range(20)] + ["", " \n"])
    write_text(folder, "test", ["ab", "abcdefgh", "", "é" * 3000])
    data = load_documents("wikitext2", BYTES, 4, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    a = BYTES.encode("abcdé")
    rows = [[a[0], a[1], 0, 0, 0], [*a[:4], a[0] + 4], [*a[4:], *a[4:], a[4]]]
    assert data.splits["test"].tolist() == rows
    assert data.splits["test"].dtype == np.uint16
    assert (data.vocab_size, data.tokenizer, data.vocabulary) == (259, "bytes", "bytes")
    train = sorted(int(BYTES.decode(row)) for split in SPLITS[:3] for row in data.splits[split])
    assert train == list(range(20))  # nothing but the empty ones is missing


def test_splits_are_disjoint_shuffled_and_complete(folders):
    splits = load_documents("wikitext2", BYTES, **folders).splits
    texts = {split: [BYTES.decode(row) for row in splits[split]] for split in SPLITS}
    assert [len(texts[split]) for split in SPLITS] == [80, 10, 10, 7]
    seen = [text for split in SPLITS for text in texts[split]]
    assert len(set(seen)) == len(seen)
    assert set(seen) == {text.strip() for text in sentences(100) + sentences(7, "test")}
    numbers = [int(text.split()[-1]) for text in texts["train"]]
    assert numbers != sorted(numbers)
    short = load_documents("wikitext2", BYTES, length=3, **folders).splits
    for split in SPLITS:
        np.testing.assert_array_equal(splits[split][:, :4], short[split])


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
    splits = load_documents(name, BYTES, data_dir=tmp_path, cache_dir=tmp_path / "cache").splits
    assert [len(splits[split]) for split in SPLITS] == sizes


def test_the_validation_file_in_place_of_the_train_file(tmp_path):
    folder = tmp_path.joinpath(*WIKITEXT)
    for split, n in (("validation", 20), ("test", 3)):
        write_text(folder, split, sentences(n, split))
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    splits = load_documents("wikitext2_valid", BYTES, **folders).splits
    assert all(BYTES.decode(row).endswith("validation") for split in SPLITS[:3] for row in splits[split])
    assert [BYTES.decode(row) for row in splits["test"]] == [text.strip() for text in sentences(3, "test")]
    with pytest.raises(DatasetNotFoundError, match=r"no train-\*.parquet.*wikitext2_valid reads"):
        load_documents("wikitext2", BYTES, **folders)


def test_lines_are_documents_where_the_catalog_says_so(tmp_path):
    folder = tmp_path / "karpathy" / "tiny_shakespeare"
    write_text(folder, "train", ["\n".join(sentences(40)) + "\n\n"])
    write_text(folder, "test", ["First\n\nSecond\n"])
    data = load_documents("tiny_shakespeare", BYTES, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert [BYTES.decode(row) for row in data.splits["test"]] == ["First", "Second"]
    assert "40 lines of its train file and 2 of its test file" in data.note


def test_a_cap_is_kept_and_noted(folders):
    data = load_documents("wikitext2", BYTES, max_documents=50, **folders)
    kept = {BYTES.decode(row) for split in SPLITS[:3] for row in data.splits[split]}
    assert kept == {text.strip() for text in sentences(50)}
    assert "at most the first 50 of a file" in data.note
    assert len(load_documents("wikitext2", BYTES, **folders).splits["train"]) == 80  # another cache entry


@pytest.mark.parametrize("load", [load_text, load_documents])
def test_bad_input(load, folders, tmp_path):
    with pytest.raises(ValueError, match=r"Unknown text dataset 'lm1'\. Did you mean 'lm1b'"):
        load("lm1", **folders)
    write_text(tmp_path.joinpath(*WIKITEXT), "train", [1, 2])
    with pytest.raises(DatasetFormatError, match="wikitext2 train row 0: expected a text, got 1"):
        load("wikitext2", BYTES, **folders)


@pytest.mark.parametrize(
    ("load", "arguments", "message"),
    [
        (load_text, {"tokenizer": WordTokenizer(vocab_size=70_000)}, "must be 2 .. 65536, got 70000"),
        (load_documents, {"length": 0}, "length must be 1 .. 128, got 0"),
        (load_documents, {"length": KEPT}, "length must be 1 .. 128, got 129"),
        (load_documents, {"max_documents": 0}, "max_documents must be at least 1, got 0"),
        (load_documents, {"vocabulary": BYTES, "max_documents": 9}, "9 documents for training, too few"),
    ],
)
def test_bad_numbers(load, arguments, message, folders):
    with pytest.raises(ValueError, match=message):
        load("wikitext2", **arguments, **folders)
