"""Text datasets: tokens, splits, and what bad input is told."""

from pydoc_data.topics import topics

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.data import PAD, SPLITS, ByteTokenizer, DatasetFormatError, DatasetNotFoundError, load_text
from tests.meta.dataset_files import write_text


@given(st.text())
def test_bytes_round_trip_and_never_pad(text):
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.uint16
    assert tokenizer.decode(tokens) == text
    assert len(tokens) == len(text.encode())
    assert not np.any(tokens == PAD)
    assert not tokens.size or tokens.max() < tokenizer.vocab_size == 259


def test_decode_leaves_special_ids_out():
    assert ByteTokenizer().decode(np.array([0, 1, 2, 68, 0])) == "A"


def test_pydoc_is_cut_without_gap_or_overlap(tmp_path):
    data = load_text("pydoc", cache_dir=tmp_path)
    whole = np.concatenate([data.splits[split] for split in SPLITS])
    text = "".join(
        topics[name].rstrip("\n") + "\n" * max(1, _ending(topics[name])) for name in sorted(topics)
    )
    assert ByteTokenizer().decode(whole) == text
    sizes = np.array([len(data.splits[split]) for split in SPLITS]) / len(whole)
    np.testing.assert_allclose(sizes, [0.72, 0.09, 0.09, 0.1], atol=1e-4)


def _ending(text):
    return len(text) - len(text.rstrip("\n"))


def test_rows_end_with_one_line_break_and_the_test_file_is_used(tmp_path):
    folder = tmp_path / "Salesforce" / "wikitext" / "wikitext-2-v1"
    write_text(folder, "train", ["one", "two\n", "", "three"] * 5)
    write_text(folder, "test", ["a test"])
    write_text(folder, "validation", ["never read"])
    data = load_text("wikitext2", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    decode = ByteTokenizer().decode
    assert "".join(decode(data.splits[split]) for split in SPLITS[:3]) == "one\ntwo\n\nthree\n" * 5
    assert decode(data.splits["test"]) == "a test\n"


def test_tiny_shakespeare(shared_path, tmp_path):
    data = load_text("tiny_shakespeare", data_dir=shared_path("data"), cache_dir=tmp_path)
    assert ByteTokenizer().decode(data.splits["train"][:14]) == "First Citizen:"
    sizes = [len(data.splits[split]) for split in SPLITS]
    assert 1_110_000 < sum(sizes) < 1_120_000
    assert sizes[0] == sum(sizes[:3]) * 80 // 100


class WordTokenizer:
    """A learned vocabulary in miniature."""

    name = "words"
    vocab_size = 32_100

    def encode(self, text):
        words = {"one": 1, "two": 31_999, "three": 7}
        return np.array([words[word] for word in text.split()], np.uint16)


def test_another_tokenizer_has_its_own_cache(tmp_path):
    folder = tmp_path / "Salesforce" / "wikitext" / "wikitext-2-v1"
    for split in ("train", "test"):
        write_text(folder, split, ["one two three"] * 4)
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    for _ in range(2):
        words = load_text("wikitext2", WordTokenizer(), **folders)
        assert (words.vocab_size, words.tokenizer) == (32_100, "words")
        assert words.splits["test"].tolist() == [1, 31_999, 7] * 4
        assert load_text("wikitext2", **folders).splits["test"].size == 4 * len("one two three\n")


def test_a_tokenizer_that_leaves_its_vocabulary(tmp_path):
    class Broken(WordTokenizer):
        name = "broken"
        vocab_size = 100

    folder = tmp_path / "Salesforce" / "wikitext" / "wikitext-2-v1"
    for split in ("train", "test"):
        write_text(folder, split, ["one two three"] * 4)
    with pytest.raises(ValueError, match=r"train_tokens run from 1 to 31999, expected 1 .. 99"):
        load_text("wikitext2", Broken(), data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_bad_input(tmp_path):
    with pytest.raises(
        ValueError, match=r"Unknown text dataset 'shakespeare'. Did you mean 'tiny_shakespeare'"
    ):
        load_text("shakespeare", cache_dir=tmp_path)

    class Huge(WordTokenizer):
        vocab_size = 70_000

    with pytest.raises(ValueError, match=r"vocab_size must be 2 .. 65536, got 70000"):
        load_text("pydoc", Huge(), cache_dir=tmp_path)
    folder = tmp_path / "karpathy" / "tiny_shakespeare"
    write_text(folder, "train", [1, 2])
    with pytest.raises(DatasetFormatError, match="tiny_shakespeare train row 0: expected a text, got 1"):
        load_text("tiny_shakespeare", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_offline_error_says_how_to_lay_out_a_set_without_a_snapshot(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DatasetNotFoundError, match=r"put train-\*.parquet .* column text into DATA/karpathy"):
        load_text("tiny_shakespeare", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_a_set_whose_train_split_is_not_there(shared_path, tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"'wikitext2' is incomplete"):
        load_text("wikitext2", data_dir=shared_path("data"), cache_dir=tmp_path)
