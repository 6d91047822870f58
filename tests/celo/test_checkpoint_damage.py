"""Files that must not load: damaged ones, those of other programs, and those that could run code."""

import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import celo
from celo import interop, safetensors_file, trees
from celo.learned import base


def random_theta() -> Any:
    """Celo's meta-parameters, drawn without compiling anything."""
    rng = np.random.default_rng(0)
    shapes = base.theta_shapes(celo.learned_optimizer("celo"))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


THETA = random_theta()
FLAT = trees.flatten(THETA)
HEADER = {"optimizer": "celo", "config": {"stage": 2, "form": "exp"}, "provenance": {}}
GOOD = safetensors_file.encode(HEADER, FLAT)
HEADER_LENGTH = 8 + int.from_bytes(GOOD[:8], "little")
UPSTREAM = flax.serialization.msgpack_serialize(trees.unflatten(interop.to_upstream("celo", THETA)))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Loads a content from a file."""
    path = tmp_path_factory.mktemp("damage") / "theta"

    def call(data: bytes, **named: Any) -> Any:
        path.write_bytes(data)
        return celo.load(path, **named)

    return call


def is_intact(loaded: Any) -> bool:
    learned, theta = loaded
    return learned == celo.learned_optimizer("celo") and all(
        np.array_equal(x, FLAT[path]) for path, x in trees.flatten(theta).items()
    )


def test_the_files_to_damage_are_good(load: Callable[..., Any]):
    assert is_intact(load(GOOD))
    assert is_intact(load(UPSTREAM))


# Damage


@hypothesis.given(st.integers(0, len(GOOD) - 1))
@hypothesis.settings(max_examples=60)
def test_no_part_of_a_file_loads(load: Callable[..., Any], length: int):
    with pytest.raises(ValueError, match=r"theta is (truncated|empty|corrupt|neither)"):
        load(GOOD[:length])


@hypothesis.given(st.integers(0, len(UPSTREAM) - 1))
@hypothesis.settings(max_examples=60)
def test_no_part_of_an_upstream_file_loads(load: Callable[..., Any], length: int):
    with pytest.raises(ValueError, match=r"theta is (truncated or corrupt|empty)"):
        load(UPSTREAM[:length])


def damaged(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    content = bytearray(data)
    for position, mask in changes:
        content[position] ^= mask
    return bytes(content)


def flips(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 255)), min_size=1, max_size=3)


@hypothesis.given(st.one_of(flips(HEADER_LENGTH), flips(len(GOOD))))
@hypothesis.settings(max_examples=200)
def test_a_damaged_file_is_refused_or_unharmed(load: Callable[..., Any], changes: list[tuple[int, int]]):
    """Unharmed: the damage met a blank at the end of the header."""
    try:
        loaded = load(damaged(GOOD, changes))
    except ValueError:
        return
    assert is_intact(loaded)


@hypothesis.given(flips(len(UPSTREAM)))
@hypothesis.settings(max_examples=100)
def test_a_damaged_upstream_file_is_refused_or_fits(load: Callable[..., Any], changes: list[tuple[int, int]]):
    """It has no checksum: what can be checked is that all arrays are there, of their shapes and finite."""
    try:
        learned, theta = load(damaged(UPSTREAM, changes))
    except ValueError:
        return
    base.check_theta(learned, theta)
    trees.check_finite(trees.flatten(theta), "theta")


def test_bytes_after_the_end_are_refused(load: Callable[..., Any]):
    for data in (GOOD, UPSTREAM):
        with pytest.raises(ValueError, match="theta is truncated or corrupt"):
            load(data + b"\0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "theta is corrupt: its checksum is [0-9a-f]{64}, its header says 0000"),
        ({"sha256": None}, "theta is corrupt: its checksum is [0-9a-f]{64}, its header says None"),
        ({"config": {"stage": 1, "form": "exp"}}, "theta is corrupt: its checksum is"),
        ({"optimizer": "celo_adam"}, "theta is corrupt: its checksum is"),
        ({"format": 2}, "theta has format version 2; this version of celo reads 1"),
        ({"format": None}, "theta has format version None; this version of celo reads 1"),
    ],
    ids=repr,
)
def test_a_header_that_was_changed(load: Callable[..., Any], change: dict[str, Any], message: str):
    header = json.loads(json.loads(GOOD[8:HEADER_LENGTH])["__metadata__"]["celo"])
    metadata = {"celo": json.dumps({**header, **change})}
    with pytest.raises(ValueError, match=message):
        load(safetensors.numpy.save(FLAT, metadata))


# Contents that are whole, and wrong


def replaced(path: str, leaf: Any) -> dict[str, Any]:
    return {p: x for p, x in {**FLAT, path: leaf}.items() if x is not None}


NOT_A_NUMBER = np.array([0.0, math.nan, math.inf], np.float32)


@pytest.mark.parametrize(
    ("header", "flat", "message"),
    [
        ({}, replaced("mlp/b2", NOT_A_NUMBER), "theta: 2 of the 3 numbers in leaf mlp/b2 are not finite"),
        (
            {},
            replaced("mlp/b2", np.zeros(2, np.float32)),
            r"theta: .*\['b2'\]: expected float32\[3\], found float32\[2\]",
        ),
        ({}, replaced("mlp/b2", np.zeros(3, np.int32)), r"\['b2'\]: expected float32\[3\], found int32\[3\]"),
        ({}, replaced("mlp/b2", None), r"theta: theta does not fit Celo.*: missing leaf \['mlp'\]\['b2'\]"),
        ({}, replaced("mlp/b2/x", np.zeros(1, np.float32)), "path mlp/b2"),
        ({}, replaced("opt", np.zeros(1, np.float32)), r"unexpected leaf \['opt'\] of float32\[1\]"),
        ({"optimizer": "cello"}, FLAT, r"theta: Unknown learned optimizer 'cello'\. Did you mean 'celo'"),
        (
            {"optimizer": "celo_adam", "config": {}},
            FLAT,
            r"theta: theta does not fit CeloAdam.*leaf \['mlp'\]",
        ),
        ({"optimizer": None}, FLAT, "theta is corrupt: its header has no optimizer"),
        ({"config": {"stage": 7}}, FLAT, "theta: stage is 7; expected 1"),
        ({"config": {"phase": 1}}, FLAT, "theta: celo has no option 'phase'"),
        ({"config": None}, FLAT, "theta is corrupt: its header has no optimizer with a configuration"),
    ],
)
def test_contents_that_do_not_fit(load: Callable[..., Any], header: dict[str, Any], flat: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load(safetensors_file.encode({**HEADER, **header}, flat))


def upstream(change: dict[str, Any]) -> bytes:
    return flax.serialization.msgpack_serialize(
        trees.unflatten({**interop.to_upstream("celo", THETA), **change})
    )


BIAS = "rnn_params/step_size/b"


@pytest.mark.parametrize(
    ("data", "named", "message"),
    [
        (upstream({BIAS: np.full(1, math.nan, np.float32)}), {}, f"theta: .* in leaf {BIAS} are not finite"),
        (upstream({BIAS: np.zeros(2, np.float32)}), {}, f"most like celo: leaf {BIAS}: expected"),
        (upstream({"more": np.zeros(2, np.float32)}), {}, "most like celo: unexpected leaf more of"),
        (
            UPSTREAM,
            {"name": "celo_adam"},
            "not upstream's meta-parameters of celo_adam: unexpected leaf ff_mod",
        ),
        (UPSTREAM, {"name": "cello"}, "theta: Unknown learned optimizer 'cello'"),
        (flax.serialization.msgpack_serialize({"a": {}}), {}, "theta is truncated or corrupt: a is an empty"),
        (flax.serialization.msgpack_serialize({"step": 3}), {}, "these arrays fit none of celo"),
    ],
)
def test_upstream_contents_that_do_not_fit(
    load: Callable[..., Any], data: bytes, named: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        load(data, **named)


# Files of other programs


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
            "theta is corrupt: its header cannot be read",
        ),
    ],
    ids=["empty", "text", "braces", "torch", "numpy", "foreign", "bare", "number", "half"],
)
def test_files_of_other_programs(
    load: Callable[..., Any], tmp_path: Path, make: Callable[[Path], bytes], message: str
):
    with pytest.raises(ValueError, match=message):
        load(make(tmp_path / "file"))


# What is not written in the first place


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": "cello"}, ValueError, "Unknown learned optimizer 'cello'"),
        ({"config": {"phase": 1}}, TypeError, "celo has no option 'phase'"),
        ({"config": {"stage": 7}}, ValueError, "stage is 7"),
        ({"theta": trees.unflatten(replaced("mlp/b2", None))}, ValueError, r"missing leaf \['mlp'\]\['b2'\]"),
        (
            {"theta": trees.unflatten(replaced("mlp/b2", NOT_A_NUMBER))},
            ValueError,
            "theta: 2 of the 3 numbers in leaf mlp/b2 are not finite",
        ),
        ({"provenance": {"task": object()}}, ValueError, "provenance cannot be written as JSON: .*object"),
        ({"provenance": {"loss": math.nan}}, ValueError, "provenance cannot be written as JSON: .*nan"),
        ({"path": "nowhere/theta"}, FileNotFoundError, "the folder nowhere for theta does not exist"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else None,
)
def test_what_save_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    whole: dict[str, Any] = {"path": "theta", "name": "celo", "config": {}, "theta": THETA}
    with pytest.raises(kind, match=message):
        celo.save(**{**whole, **arguments})
    assert not os.listdir(tmp_path)


def test_paths_are_flattened_without_collisions():
    assert trees.unflatten(trees.flatten(THETA)).keys() == THETA.keys()
    with pytest.raises(ValueError, match="two leaves have the path a/b"):
        trees.flatten({"a": {"b": 1}, "a/b": 2})
    with pytest.raises(TypeError, match="a has the key 1; expected strings"):
        trees.flatten({"a": {1: 2}})
    with pytest.raises(ValueError, match="a/b is an empty dictionary"):
        trees.flatten({"a": {"b": {}}})
    assert trees.flatten(jnp.ones(1)).keys() == {""}
