"""Meta-parameters in upstream's form: they come in whole or not at all, and go back."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import flax.serialization
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo
from celo import interop
from celo._core import trees
from celo.learned import base

Vectors = dict[str, np.ndarray]

# The groups of Celo's features, as the reference stores their part of the first layer.
GROUP_SIZES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


def theta(name: str) -> Any:
    """Random meta-parameters, drawn without compiling anything."""
    rng = np.random.default_rng(0)
    shapes = base.theta_shapes(celo.learned_optimizer(name))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@functools.cache
def form(name: str) -> frozenset[tuple[str, str]]:
    """Paths, shapes and dtypes of an optimizer's upstream arrays."""
    return frozenset((path, trees.spec(x)) for path, x in interop.to_upstream(name, theta(name)).items())


@pytest.fixture
def flat() -> Vectors:
    """Celo in upstream's form, random where upstream does not use it too."""
    return {path: x + np.float32(0.5) for path, x in interop.to_upstream("celo", theta("celo")).items()}


def assert_equal(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", interop.LAYOUTS)
def test_there_and_back(name: str):
    expected = theta(name)
    found = interop.from_upstream(name, interop.to_upstream(name, expected))
    assert_equal(found, expected)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", interop.LAYOUTS)
def test_arrays_are_recognised_unless_two_optimizers_share_a_form(name: str):
    arrays = interop.to_upstream(name, theta(name))
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
    arrays = interop.to_upstream(name, theta(name))
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


@pytest.mark.parametrize(
    ("ours", "upstream"),
    [
        (("scheduler", "mix_relu", "w"), "rnn_params/linear_1/w"),
        (("scheduler", "mix_linear", "b"), "rnn_params/linear_2/b"),
        (("scheduler", "lstm", "w"), "rnn_params/rnn/linear/w"),
        (("scheduler", "step_size", "w"), "rnn_params/step_size/w"),
        (("scheduler", "initial", "hidden"), "lstm_init_state/hidden"),
        (("scheduler", "initial", "cell"), "lstm_init_state/cell"),
        (("mlp", "b2"), "ff_mod_stack/~/b2"),
    ],
)
def test_where_each_leaf_of_celo_comes_from(flat: Vectors, ours: tuple[str, ...], upstream: str):
    flat[upstream] = np.random.default_rng(0).normal(size=flat[upstream].shape).astype(np.float32)
    leaf: Any = interop.from_upstream("celo", flat)
    for key in ours:
        leaf = leaf[key]
    np.testing.assert_array_equal(leaf, flat[upstream].reshape(leaf.shape))


UNUSED = [f"rnn_params/{layer}/{part}" for layer in ("linear", "rnn_to_controls") for part in ("w", "b")]


def test_what_upstream_does_not_use_has_no_influence(flat: Vectors):
    expected = interop.from_upstream("celo", flat)
    assert_equal(interop.from_upstream("celo", {**flat, **{p: flat[p] + 1 for p in UNUSED}}), expected)
    zeros = interop.to_upstream("celo", expected)
    assert all(not np.any(zeros[path]) for path in UNUSED)


def test_every_leaf_must_be_there_even_those_not_used(flat: Vectors):
    assert set(UNUSED) < set(flat)
    for path in flat:
        message = f"of celo: missing leaf {path}, expected {trees.spec(flat[path])}"
        with pytest.raises(ValueError, match=re.escape(message) + "$"):
            interop.from_upstream("celo", {other: x for other, x in flat.items() if other != path})


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=30)
def test_every_leaf_must_have_its_shape(data: st.DataObject):
    arrays = interop.to_upstream("celo", theta("celo"))
    path = data.draw(st.sampled_from(sorted(arrays)))
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=3)))
    hypothesis.assume(shape != arrays[path].shape)
    wrong = np.zeros(shape, np.float32)
    message = f"leaf {path}: expected {trees.spec(arrays[path])}, found {trees.spec(wrong)}"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        interop.from_upstream("celo", {**arrays, path: wrong})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opt/x": np.zeros(3, np.float32)}, r"unexpected leaf opt/x of float32\[3\]$"),
        (
            {"lstm_init_state/cell": np.zeros((1, 64))},
            r"cell: expected float32\[1, 64\], found float64\[1, 64\]$",
        ),
        ({"lstm_init_state/cell": None}, r"cell: expected float32\[1, 64\], found NoneType\[\]$"),
        (
            {"rnn_params/step_size/b": np.full(1, math.nan, np.float32)},
            "celo: 1 of the 1 numbers in leaf rnn_params/step_size/b are not finite$",
        ),
        (
            {"rnn_params/linear_1/b": np.full(64, math.inf, np.float32)},
            "64 of the 64 numbers in leaf rnn_params/linear_1/b are not finite$",
        ),
    ],
    ids=["unexpected", "dtype", "none", "nan", "inf"],
)
def test_what_else_is_refused(flat: Vectors, change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        interop.from_upstream("celo", {**flat, **change})


def test_jax_arrays_are_taken_too(flat: Vectors):
    found = interop.from_upstream("celo", {path: jnp.asarray(x) for path, x in flat.items()})
    assert_equal(found, interop.from_upstream("celo", flat))


def test_unknown_names_and_fields_are_refused(flat: Vectors):
    with pytest.raises(ValueError, match=r"Unknown learned optimizer 'cello'\. Did you mean 'celo'"):
        interop.from_upstream("cello", flat)
    with pytest.raises(TypeError, match="celo has no option 'phase'"):
        interop.from_upstream("celo", flat, phase=1)
    with pytest.raises(ValueError, match="theta does not fit Celo"):
        interop.to_upstream("celo", {"mlp": {}})
    with pytest.raises(ValueError, match=r"fit none of celo, .*; most like celo: unexpected leaf x"):
        interop.recognise({**flat, "x": np.zeros(1, np.float32)})


def test_layouts_are_read_only_and_of_known_optimizers():
    assert set(interop.LAYOUTS) <= set(celo.LEARNED)
    with pytest.raises(TypeError):
        interop.LAYOUTS["mine"] = ()  # pyright: ignore[reportIndexIssue]  # the point
