"""Damaged files of meta-parameters: no part of one loads, and no change goes unnoticed."""

import json
from collections.abc import Callable
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


def is_intact(loaded: Any) -> bool:
    learned, theta = loaded
    return learned == celo.learned_optimizer("celo") and all(
        np.array_equal(x, FLAT[path]) for path, x in trees.flatten(theta).items()
    )


def test_the_files_to_damage_are_good(load: Callable[..., Any]):
    assert is_intact(load(GOOD))
    assert is_intact(load(UPSTREAM))


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
