"""A few steps of Celo with random meta-parameters, for tests of Celo as an optimizer among others.

Every test uses tensors of the same two shapes, so that few operations are compiled.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import celo

Tree = Any

LEARNED = celo.learned_optimizer("celo")
THETA = LEARNED.init(jax.random.key(0))
LOSSES = (1.5, 1.25, 1.0)  # a loss that stands still shows the scheduler nothing but rounding errors


def normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def params() -> Tree:
    return {"w": normal(0, 4, 3), "b": normal(1, 3)}


def grads() -> Tree:
    return {"w": normal(2, 4, 3), "b": normal(3, 3)}


def optimizer(num_steps: float = 100, stage: int = 2) -> Any:  # optax's types hide what a state holds
    return celo.learned_optimizer("celo", stage=stage).optimizer(THETA, num_steps)


def steps(optimizer: Any, grads: Tree, params: Tree, state: Tree = None) -> tuple[list[Tree], Any]:
    """The updates of three steps of a falling loss, parameters and gradients kept, and the last state."""
    state, updates = optimizer.init(params) if state is None else state, []
    for loss in LOSSES:
        update, state = optimizer.update(grads, state, params, value=jnp.float32(loss))
        updates.append(update)
    return updates, state


def assert_same(found: Tree, expected: Tree, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-10)
