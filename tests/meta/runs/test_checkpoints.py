"""Checkpoints of a run: what is restored equals what was saved."""

from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.runs import state_file
from celo.meta.runs.checkpoints import Checkpoints


class Moments(NamedTuple):
    mean: Any
    count: Any


DTYPES = [np.float32, np.int32, np.uint32, np.bool_, jnp.bfloat16, np.uint8, np.float16]


def _as_dtype(bits: np.ndarray, dtype: Any) -> np.ndarray:
    """Any bit pattern of the type: NaNs with payloads, minus zero and denormals among them."""
    if np.dtype(dtype) == np.bool_:
        return bits % 2 == 1
    return bits.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)


LEAVES = st.builds(
    _as_dtype,
    hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    st.sampled_from(DTYPES),
)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(0, 9), inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.builds(Moments, inner, inner)
    ),
    max_leaves=8,
)


def assert_identical(actual: Any, expected: Any) -> None:
    """Same containers, same types of leaves, same bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, jax.Array) == isinstance(other, jax.Array)
        if state_file.is_key(other):
            assert jax.random.key_impl(one) == jax.random.key_impl(other)
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def blank(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)


@given(TREES)
def test_encoding_is_undone_bit_for_bit(tree: Any) -> None:
    notes, described, arrays = state_file.decode(state_file.encode(tree, {"step": 3}))
    assert notes == {"step": 3}
    assert_identical(state_file.rebuild(described, arrays, blank(tree), "here"), tree)


def test_device_arrays_keys_and_placement_come_back(tmp_path: Path) -> None:
    mesh = jax.make_mesh((2,), ("problems",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("problems"))
    state = {
        "free": jnp.arange(3.0),
        "split": jax.device_put(jnp.arange(8, dtype=jnp.bfloat16), split),
        "copied": jax.device_put(jnp.arange(2), jax.NamedSharding(mesh, jax.P())),
        "key": jax.random.key(7),
        "keys": jax.device_put(jax.random.split(jax.random.key(8, impl="rbg"), 4), split),
        "raw": jax.random.PRNGKey(9),
        "host": np.float32(0.5),
    }
    Checkpoints(tmp_path).save(1, state)
    found = Checkpoints(tmp_path).restore_latest(jax.tree.map(lambda leaf: leaf, state))
    assert found is not None
    restored = found[1]
    assert_identical(restored, state)
    for name in ("free", "split", "copied", "key", "keys", "raw"):
        assert restored[name].sharding == state[name].sharding, name
        assert restored[name].committed == state[name].committed, name
    assert type(restored["host"]) is np.float32
    assert jax.random.bits(restored["key"]) == jax.random.bits(state["key"])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_are_kept(tmp_path: Path, keep: int) -> None:
    checkpoints = Checkpoints(tmp_path / "deep" / "folder", keep)
    assert checkpoints.restore_latest({}) is None
    for step in (0, 5, 10, 100):
        checkpoints.save(step, {"step": np.int32(step)}, row=7)
    assert checkpoints.steps() == [0, 5, 10, 100][-keep:]
    found = checkpoints.restore_latest({"step": np.int32(0)})
    assert found == (100, {"step": 100}, {"step": 100, "row": 7})


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, np.int32(1))
    before = [(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")]
    checkpoints.save(1, np.int32(1))
    assert [(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")] == before


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"lr": 0.1}, r"state\['lr'\] is a float, 0\.1; .*jnp\.asarray"),
        ({"name": np.array("adam")}, r"state\['name'\] has dtype <U4"),
        ([np.array([None])], r"state\[0\] has dtype object"),
    ],
)
def test_only_arrays_are_saved(tmp_path: Path, state: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Checkpoints(tmp_path).save(1, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": np.zeros(3, np.float32)}, r"\['b'\]: stored int32\[\], expected nothing"),
        ({"a": np.zeros(4, np.float32), "b": np.int32(0)}, r"stored float32\[3\], expected float32\[4\]"),
        ({"a": np.zeros(3, np.int32), "b": np.int32(0)}, r"stored float32\[3\], expected int32\[3\]"),
        ({"a": np.zeros(3, np.float32), "c": np.int32(0)}, r"\['c'\]: stored nothing, expected int32\[\]"),
    ],
)
def test_another_state_is_refused_leaf_by_leaf(tmp_path: Path, like: Any, message: str) -> None:
    Checkpoints(tmp_path).save(1, {"a": np.ones(3, np.float32), "b": np.int32(2)})
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path).restore_latest(like)
    assert Checkpoints(tmp_path).steps() == [1], "a mistaken call must not cost a checkpoint"


@pytest.mark.parametrize(("keep", "step"), [(0, 1), (-1, 1), (1, -5)])
def test_bad_numbers_are_refused(tmp_path: Path, keep: int, step: int) -> None:
    with pytest.raises(ValueError, match=r"keep is (0|-1); at least 1|step is -5; expected at least 0"):
        Checkpoints(tmp_path, keep).save(step, np.int32(0))
