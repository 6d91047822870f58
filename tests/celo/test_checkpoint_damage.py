"""Damaged and foreign files of meta-parameters: nothing of them loads, and no code in them runs."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.numpy

import celo
from celo._core import trees
from celo.learned import base
from tests.celo.checkpoint_contents import FLAT, GOOD, UPSTREAM

HEADER_LENGTH = 8 + int.from_bytes(GOOD[:8], "little")
Load = Callable[[bytes], Any]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads a content from a file."""
    path = tmp_path_factory.mktemp("damage") / "theta"

    def call(data: bytes) -> Any:
        path.write_bytes(data)
        return celo.load(path)

    return call


def is_intact(loaded: Any) -> bool:
    learned, theta = loaded
    return learned == celo.learned_optimizer("celo") and all(
        np.array_equal(x, FLAT[path]) for path, x in trees.flatten(theta).items()
    )


@pytest.mark.parametrize("data", [GOOD, UPSTREAM], ids=["ours", "upstream"])
def test_no_part_of_a_file_loads_nor_anything_after_it(load: Load, data: bytes):
    assert is_intact(load(data))
    for length in {0, 1, 8, HEADER_LENGTH, *range(5, len(data), 601), len(data) - 1}:
        with pytest.raises(ValueError, match=r"theta is (truncated|empty|corrupt|neither)"):
            load(data[:length])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load(data + b"\0")


def damaged(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    content = bytearray(data)
    for position, mask in changes:
        content[position] ^= mask
    return bytes(content)


def flips(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 255)), min_size=1, max_size=3)


@hypothesis.given(st.one_of(flips(HEADER_LENGTH), flips(len(GOOD))))
@hypothesis.settings(max_examples=200)
def test_a_damaged_file_is_refused_or_unharmed(load: Load, changes: list[tuple[int, int]]):
    """Unharmed: the damage met a blank at the end of the header."""
    try:
        loaded = load(damaged(GOOD, changes))
    except ValueError:
        return
    assert is_intact(loaded)


@hypothesis.given(flips(len(UPSTREAM)))
@hypothesis.settings(max_examples=100)
def test_a_damaged_upstream_file_is_refused_or_fits(load: Load, changes: list[tuple[int, int]]):
    """It has no checksum: what can be checked is that all arrays are there, of their shapes and finite."""
    try:
        learned, theta = load(damaged(UPSTREAM, changes))
    except ValueError:
        return
    base.check_theta(learned, theta)
    trees.check_finite(trees.flatten(theta), "theta")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "corrupt: its checksum is [0-9a-f]{64}, its header says 0000"),
        ({"sha256": None}, "corrupt: its checksum"),
        ({"config": {"stage": 1, "form": "exp"}}, "corrupt: its checksum"),
        ({"optimizer": "celo_adam"}, "corrupt: its checksum"),
        ({"format": 2}, "format version 2; this version of celo reads 1"),
        ({"format": None}, "format version None"),
    ],
    ids=repr,
)
def test_a_header_that_was_changed(load: Load, change: dict[str, Any], message: str):
    header = json.loads(json.loads(GOOD[8:HEADER_LENGTH])["__metadata__"]["celo"])
    with pytest.raises(ValueError, match=message):
        load(safetensors.numpy.save(FLAT, {"celo": json.dumps({**header, **change})}))


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_even_opened(load: Load, tmp_path: Path, protocol: int):
    data = pickle.dumps(Bomb(tmp_path / "exploded"), protocol)
    with pytest.raises(ValueError, match=r"theta is (a pickle|neither a safetensors file)"):
        load(data)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(data)
    assert (tmp_path / "exploded").exists(), "a bomb that does not work would test nothing"


def archive(path: Path) -> bytes:
    """What PyTorch's save makes: a zip archive with a pickle in it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    return path.read_bytes()


def numpy_file(path: Path) -> bytes:
    np.save(path, np.zeros(3))
    return path.with_suffix(".npy").read_bytes()


def deep_header(path: Path) -> bytes:
    header = json.dumps({"__metadata__": 0}).replace("0", NESTED).encode()
    return len(header).to_bytes(8, "little") + header


NESTED = "[" * 100_000 + "]" * 100_000
DEEP = f'{{"format": 1, "config": {NESTED}}}'
FOREIGN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "text": (lambda path: b"hello, world\n" * 20, "neither a safetensors file nor flax's msgpack"),
    "braces": (lambda path: b"{" * 20, "neither a safetensors file"),
    "torch": (archive, "a pickle or a zip archive"),
    "numpy": (numpy_file, "neither a safetensors file"),
    "foreign": (lambda path: safetensors.numpy.save(FLAT, {"format": "pt"}), "not one that celo.save wrote"),
    "bare": (lambda path: safetensors.numpy.save(FLAT), "not one that celo.save wrote"),
    "number": (lambda path: safetensors.numpy.save(FLAT, {"celo": "1"}), "not one that celo.save wrote"),
    "half": (lambda path: safetensors.numpy.save(FLAT, {"celo": "{"}), "truncated or corrupt"),
    "deep header": (deep_header, "truncated or corrupt"),
    "deep metadata": (lambda path: safetensors.numpy.save(FLAT, {"celo": NESTED}), "truncated or corrupt"),
    "deep config": (lambda path: safetensors.numpy.save(FLAT, {"celo": DEEP}), "truncated or corrupt"),
    "deep msgpack": (lambda path: b"\x81\xa1a" * 100_000 + b"\x01", "truncated or corrupt"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_programs(load: Load, tmp_path: Path, kind: str):
    make, message = FOREIGN[kind]
    with pytest.raises(ValueError, match=f"theta is .*{message}"):
        load(make(tmp_path / "file"))
