"""Files of other programs must not load as meta-parameters, least of all those that could run code."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from celo._core import safetensors_file
from tests.celo.checkpoint_contents import FLAT


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_even_opened(load: Callable[..., Any], tmp_path: Path, protocol: int):
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


def checkpoint_of_another_program(path: Path) -> bytes:
    return safetensors.numpy.save({"weight": np.zeros((3, 4), np.float32)}, {"format": "pt"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: b"", "theta is empty"),
        (lambda path: b"hello, world\n" * 20, "theta is neither a safetensors file nor flax's msgpack"),
        (lambda path: b"{" * 20, "theta is neither a safetensors file nor flax's msgpack"),
        (archive, "theta is a pickle or a zip archive.*; pickles are never loaded"),
        (numpy_file, "theta is neither a safetensors file nor flax's msgpack"),
        (checkpoint_of_another_program, "theta is a safetensors file, but not one that celo.save wrote"),
        (lambda path: safetensors.numpy.save(FLAT), "not one that celo.save wrote"),
        (lambda path: safetensors.numpy.save(FLAT, {"celo": "1"}), "not one that celo.save wrote"),
        (
            lambda path: safetensors.numpy.save(FLAT, {"celo": "{"}),
            "theta is truncated or corrupt: JSONDecodeError",
        ),
    ],
    ids=["empty", "text", "braces", "torch", "numpy", "foreign", "bare", "number", "half"],
)
def test_files_of_other_programs(
    load: Callable[..., Any], tmp_path: Path, make: Callable[[Path], bytes], message: str
):
    with pytest.raises(ValueError, match=message):
        load(make(tmp_path / "file"))


NESTED = "[" * 100_000 + "]" * 100_000


def deep_header() -> bytes:
    header = json.dumps({"__metadata__": 0}).replace("0", NESTED).encode()
    return len(header).to_bytes(8, "little") + header


def deep_msgpack() -> bytes:
    return b"\x81\xa1a" * 100_000 + b"\x01"


@pytest.mark.parametrize(
    "make",
    [
        deep_header,
        lambda: safetensors.numpy.save(FLAT, {"celo": NESTED}),
        lambda: safetensors.numpy.save(FLAT, {"celo": f'{{"format": 1, "config": {NESTED}}}'}),
        deep_msgpack,
    ],
    ids=["header", "metadata", "configuration", "msgpack"],
)
def test_contents_nested_without_end_are_refused_by_name(load: Callable[..., Any], make: Callable[[], bytes]):
    with pytest.raises(ValueError, match="theta is truncated or corrupt"):
        load(make())


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("celo2", {"adam_paths": "(a*)*$"}, "of a regular expression; expected globs"),
        ("velo", {"hidden": 10**30}, "hidden is a whole number of 100 bits; expected a whole number"),
        ("velo", {"hidden": 2**30}, "theta"),
        ("celo", {"stage": [1]}, "stage is"),
        ("celo", {"form": {"a": 1}}, "form is"),
    ],
)
def test_configurations_of_hostile_files_are_refused(
    load: Callable[..., Any], name: str, config: dict[str, Any], message: str
):
    header = {"optimizer": name, "config": config, "provenance": {}}
    with pytest.raises(ValueError, match=rf"theta: .*{message}"):
        load(safetensors_file.encode(header, FLAT))
