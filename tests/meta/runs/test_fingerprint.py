"""Digests that change with every array, and of arrays alone with nothing else."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.runs.fingerprint import arrays_fingerprint, fingerprint
from celo.meta.tasks import Quadratic

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_it_is_the_digest_of_type_shape_and_bytes():
    """Spelled out: results are stored under these digests, and must be found again."""
    text = f"\nx {jax.tree.structure(0)}\n<f4(2, 3)".encode() + ARRAY.tobytes()
    assert fingerprint(x=ARRAY) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "other",
    [ARRAY.T.copy(), ARRAY.astype(np.float64), -ARRAY, ARRAY.reshape(-1), ARRAY[:0], [ARRAY, ARRAY]],
    ids=["values", "type", "sign", "shape", "empty", "number"],
)
def test_arrays_that_differ(other):
    assert arrays_fingerprint(other) != arrays_fingerprint(ARRAY)
    for dtype in (jnp.bfloat16, bool, np.int8):  # scalars of every type count
        assert arrays_fingerprint(jnp.asarray(1, dtype)) != arrays_fingerprint(jnp.asarray(0, dtype))


def test_where_and_how_arrays_lie_in_memory_decides_nothing():
    for same in (jnp.asarray(ARRAY), np.asfortranarray(ARRAY), np.stack([ARRAY, ARRAY])[1]):
        assert arrays_fingerprint(same) == arrays_fingerprint(ARRAY)


def test_names_and_configuration_count_only_where_asked():
    first, second = (Quadratic.of([1.0, 2.0], name=name) for name in ("a", "b"))
    assert arrays_fingerprint(first) == arrays_fingerprint(second)
    assert arrays_fingerprint({"a": ARRAY}) == arrays_fingerprint({"b": ARRAY})
    assert fingerprint(x={"a": ARRAY}) != fingerprint(x={"b": ARRAY})
