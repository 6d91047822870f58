"""Meta-parameters in upstream's form: they come in whole or not at all, and go back."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import flax.serialization
import jax
import numpy as np
import pytest

from celo import interop
from celo._core import trees
from tests.celo.checkpoint_contents import assert_equal, random_theta

Vectors = dict[str, np.ndarray]

# The groups of Celo's features, as the reference stores their part of the first layer.
GROUP_SIZES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


@functools.cache
def form(name: str) -> frozenset[tuple[str, str]]:
    """Paths, shapes and dtypes of an optimizer's upstream arrays."""
    return frozenset(
        (path, trees.spec(x)) for path, x in interop.to_upstream(name, random_theta(name)).items()
    )


@pytest.fixture
def flat() -> Vectors:
    """Celo in upstream's form, random where upstream does not use it too."""
    return {
        path: x + np.float32(0.5) for path, x in interop.to_upstream("celo", random_theta("celo")).items()
    }


@pytest.mark.parametrize("name", interop.LAYOUTS)
def test_there_and_back(name: str):
    expected = random_theta(name)
    found = interop.from_upstream(name, interop.to_upstream(name, expected))
    assert_equal(found, expected)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", interop.LAYOUTS)
def test_arrays_are_recognised_unless_two_optimizers_share_a_form(name: str):
    arrays = interop.to_upstream(name, random_theta(name))
    twins = [other for other in interop.LAYOUTS if form(other) == form(name)]
    if twins == [name]:
        assert interop.recognise(arrays) == name
    else:
        with pytest.raises(ValueError, match=f"fit {' and '.join(twins)} alike; state which with name="):
            interop.recognise(arrays)


# With its only leaf wrong there is nothing left to know gradient descent by.
@pytest.mark.parametrize("name", sorted(interop.LAYOUTS.keys() - {"learnable_sgd"}))
def test_one_wrong_shape_is_told_of_the_optimizer_it_is_in(name: str):
    """Several have the same paths and differ in shapes alone."""
    arrays = interop.to_upstream(name, random_theta(name))
    path = max(arrays, key=lambda path: arrays[path].ndim)
    arrays[path] = np.zeros((*arrays[path].shape, 7), np.float32)
    twins = "|".join(other for other in interop.LAYOUTS if form(other) == form(name))
    with pytest.raises(ValueError, match=rf"most like ({twins}): leaf {path}: expected .*, found .*7\]$"):
        interop.recognise(arrays)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])
def test_released_files_hold_what_the_vectors_hold(
    name: str, parity: Callable[[str], Vectors], shared_path: Callable[[str], Any]
):
    data = shared_path(f"parity/released/{name}.theta.state").read_bytes()
    stored = trees.flatten(flax.serialization.msgpack_restore(data))
    vectors = {
        path.removeprefix("theta/"): x
        for path, x in parity(f"released/{name}").items()
        if path.startswith("theta/")
    }
    assert interop.recognise(stored) == name
    assert_equal(interop.from_upstream(name, stored), interop.from_upstream(name, vectors))


def test_groups_of_the_first_layer_are_in_numeric_order(flat: Vectors):
    for i in range(len(GROUP_SIZES)):
        flat[f"ff_mod_stack/~/w0__{i}"] = np.full_like(flat[f"ff_mod_stack/~/w0__{i}"], i)
    w0 = interop.from_upstream("celo", flat)["mlp"]["w0"]
    np.testing.assert_array_equal(w0, np.repeat(np.arange(14.0), GROUP_SIZES)[:, None] * np.ones(4))


# Celo's leaves and where upstream keeps them.
PLACES = {
    "scheduler/mix_relu/w": "rnn_params/linear_1/w",
    "scheduler/mix_linear/b": "rnn_params/linear_2/b",
    "scheduler/lstm/w": "rnn_params/rnn/linear/w",
    "scheduler/step_size/w": "rnn_params/step_size/w",
    "scheduler/initial/hidden": "lstm_init_state/hidden",
    "scheduler/initial/cell": "lstm_init_state/cell",
    "mlp/b2": "ff_mod_stack/~/b2",
}


def test_where_each_leaf_of_celo_comes_from(flat: Vectors):
    leaves = trees.flatten(interop.from_upstream("celo", flat))
    for ours, upstream in PLACES.items():
        np.testing.assert_array_equal(leaves[ours], flat[upstream].reshape(leaves[ours].shape))


UNUSED = [f"rnn_params/{layer}/{part}" for layer in ("linear", "rnn_to_controls") for part in ("w", "b")]


def test_what_upstream_does_not_use_has_no_influence(flat: Vectors):
    expected = interop.from_upstream("celo", flat)
    assert_equal(interop.from_upstream("celo", {**flat, **{p: flat[p] + 1 for p in UNUSED}}), expected)
    for path in UNUSED:  # but it must be there
        with pytest.raises(ValueError, match=re.escape(f"of celo: missing leaf {path}, expected float32")):
            interop.from_upstream("celo", {other: x for other, x in flat.items() if other != path})
    zeros = interop.to_upstream("celo", expected)
    assert all(not np.any(zeros[path]) for path in UNUSED)


CELL, BIAS = "lstm_init_state/cell", "rnn_params/step_size/b"


@pytest.mark.parametrize(
    ("path", "leaf", "message"),
    [
        ("opt/x", np.zeros(3, np.float32), r"unexpected leaf opt/x of float32\[3\]$"),
        (CELL, np.zeros((1, 64)), r"cell: expected float32\[1, 64\], found float64\[1, 64\]$"),
        (CELL, np.zeros((1, 63), np.float32), r"cell: expected float32\[1, 64\], found float32\[1, 63\]$"),
        (CELL, None, r"cell: expected float32\[1, 64\], found NoneType\[\]$"),
        (BIAS, np.full(1, math.nan, np.float32), f"1 of the 1 numbers in leaf {BIAS} are not finite$"),
        (BIAS, np.full(1, math.inf, np.float32), f"1 of the 1 numbers in leaf {BIAS} are not finite$"),
    ],
)
def test_what_else_is_refused(flat: Vectors, path: str, leaf: Any, message: str):
    with pytest.raises(ValueError, match=message):
        interop.from_upstream("celo", {**flat, path: leaf})


def test_unknown_names_and_fields_are_refused(flat: Vectors):
    with pytest.raises(ValueError, match=r"Unknown learned optimizer 'cello'\. Did you mean 'celo'"):
        interop.from_upstream("cello", flat)
    with pytest.raises(TypeError, match="celo has no option 'phase'"):
        interop.from_upstream("celo", flat, phase=1)
    with pytest.raises(ValueError, match="theta does not fit Celo"):
        interop.to_upstream("celo", {"mlp": {}})
    with pytest.raises(ValueError, match=r"fit none of celo, .*; most like celo: unexpected leaf x"):
        interop.recognise({**flat, "x": np.zeros(1, np.float32)})
