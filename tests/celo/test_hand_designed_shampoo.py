"""Shampoo against numpy with exact roots, and the parts it is made of."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.baselines import hand_designed
from celo.baselines.shampoo import Shampoo

STEPS = 8


def gradient(t: int, shape: tuple[int, ...] = (5, 4)) -> np.ndarray:
    return np.random.default_rng(t).normal(size=shape)


def exact_root(matrix: np.ndarray, power: int, epsilon: float = 1e-6) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    ridge = epsilon * max(values.max(), 1e-6)
    return vectors @ np.diag((values + ridge) ** (-1 / power)) @ vectors.T


class NumpyShampoo:
    """The published recipe on one matrix in float64, block by block; `cut` gives the blocks of a matrix."""

    def __init__(
        self, cuts: list[tuple[slice, slice]], graft: str, b2: float, start: int, weight_decay: float
    ):
        self.cuts, self.graft, self.b2, self.start, self.decay = cuts, graft, b2, start, weight_decay
        sizes = [np.zeros((5, 4))[cut].shape for cut in cuts]
        self.left = [1e-6 * np.eye(rows) for rows, _ in sizes]
        self.right = [1e-6 * np.eye(columns) for _, columns in sizes]
        self.sum = self.momentum = self.graft_momentum = np.zeros((5, 4))

    def grafted(self, g: np.ndarray, new: float) -> np.ndarray:
        if self.graft in ("sgd", "sqrt_n"):
            return g if self.graft == "sgd" else np.sign(g)
        method, _, normalized = self.graft.partition("_")
        g = g / np.linalg.norm(g) if normalized else g
        kept, share = (1.0, 1.0) if method == "adagrad" else (self.b2, new)
        self.sum = kept * self.sum + share * g**2
        return g / (np.sqrt(self.sum) + 1e-10)

    def update(self, t: int, g: np.ndarray, p: np.ndarray) -> np.ndarray:
        new = 1.0 if self.b2 == 1.0 else 1.0 - self.b2
        u = np.zeros_like(g)
        for i, cut in enumerate(self.cuts):
            b = g[cut]
            self.left[i] = self.b2 * self.left[i] + new * b @ b.T
            self.right[i] = self.b2 * self.right[i] + new * b.T @ b
            u[cut] = exact_root(self.left[i], 4) @ b @ exact_root(self.right[i], 4)
        graft = self.grafted(g, new)
        u = u * np.linalg.norm(graft) / np.linalg.norm(u) + self.decay * p
        graft = graft + self.decay * p
        self.momentum = 0.9 * self.momentum + u
        self.graft_momentum = 0.9 * self.graft_momentum + graft
        return 0.9 * self.momentum + u if t >= self.start else 0.9 * self.graft_momentum + graft


WHOLE = [(slice(None), slice(None))]
BLOCKS = [(rows, columns) for rows in (slice(3), slice(3, 5)) for columns in (slice(3), slice(3, 4))]


@pytest.mark.parametrize(
    ("graft", "block_size", "cuts", "b2", "start", "weight_decay"),
    [
        ("sgd", 128, WHOLE, 0.999, 5, 0.0),
        ("adagrad", 3, BLOCKS, 0.99, 2, 0.1),
        ("sgd", 3, BLOCKS, 1.0, 0, 0.0),
        ("adagrad_normalized", 128, WHOLE, 0.9, 2, 0.0),
        ("rmsprop", 128, WHOLE, 0.9, 2, 0.0),
        ("rmsprop_normalized", 128, WHOLE, 0.9, 2, 0.0),
        ("rmsprop", 128, WHOLE, 1.0, 2, 0.0),
        ("sqrt_n", 128, WHOLE, 0.9, 2, 0.0),
    ],
)
def test_equals_numpy_with_exact_roots(
    graft: str, block_size: int, cuts: Any, b2: float, start: int, weight_decay: float
):
    reference = NumpyShampoo(cuts, graft, b2, start, weight_decay)
    optimizer = Shampoo(
        graft,
        block_size,
        b2=b2,
        weight_decay=weight_decay,
        start_preconditioning_step=start,
        merge_small_dims_block_size=None,
    )
    p = np.linspace(-1.0, 1.0, 20).reshape(5, 4)
    state, update = optimizer.init(jnp.asarray(p, jnp.float32)), jax.jit(optimizer.update)
    for t in range(STEPS):
        g = gradient(t)
        ours, state = update(jnp.asarray(g, jnp.float32), state, jnp.asarray(p, jnp.float32))
        expected = reference.update(t, g, p)
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_a_small_matrix_is_one_vector_by_default():
    optimizer = Shampoo(b1=0.0, start_preconditioning_step=0)
    statistics, state = 1e-6 * np.eye(20), optimizer.init(jnp.zeros((5, 4)))
    assert [s.shape for s in state.statistics] == [(1, 20, 20)]
    for t in range(3):
        g = gradient(t)
        ours, state = optimizer.update(jnp.asarray(g, jnp.float32), state)
        statistics = 0.999 * statistics + 0.001 * np.outer(g, g)
        u = exact_root(statistics, 2) @ g.ravel()
        expected = (u * np.linalg.norm(g) / np.linalg.norm(u)).reshape(5, 4)
        np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max())


def test_what_is_not_preconditioned_takes_the_grafted_step():
    params = {"scalar": jnp.float32(1.0), "long": jnp.ones((9, 2)), "empty": jnp.ones((0, 3))}
    shampoo: Any = hand_designed("shampoo_sgd", 0.1, skip_preconditioning_dim_size_gt=8)
    sgd: Any = hand_designed("nesterov", 0.1)
    state, sgd_state = shampoo.init(params), sgd.init(params)
    for t in range(STEPS):
        g = jax.tree.map(lambda p, t=t: jnp.asarray(gradient(t, p.shape), jnp.float32), params)
        ours, state = shampoo.update(g, state, params)
        expected, sgd_state = sgd.update(g, sgd_state, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, expected)


def test_roots_are_kept_between_two_computations():
    optimizer = Shampoo(preconditioning_compute_steps=2)
    state = optimizer.init(jnp.zeros(3))
    roots = []
    for t in range(4):
        _, state = optimizer.update(jnp.asarray(gradient(t, (3,)), jnp.float32), state)
        roots.append(np.asarray(state.roots[0]))
    np.testing.assert_array_equal(roots[0], roots[1])
    np.testing.assert_array_equal(roots[2], roots[3])
    assert not np.allclose(roots[1], roots[2])


def test_an_overflowing_step_is_left_out_of_the_statistics():
    optimizer = Shampoo()
    _, before = optimizer.update(jnp.ones(3), optimizer.init(jnp.zeros(3)))
    updates, after = optimizer.update(jnp.array([1e30, 1.0, 0.0]), before)
    np.testing.assert_array_equal(after.statistics[0], before.statistics[0])
    assert np.all(np.isfinite(updates))


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="graft is 'adam'; expected one of 'sgd', 'adagrad'"):
        Shampoo("adam")
    for option in ("block_size", "preconditioning_compute_steps", "merge_small_dims_block_size"):
        for wrong in (0, 1.5):
            with pytest.raises(ValueError, match=f"{option} is {wrong}; expected a whole number"):
                hand_designed("shampoo_adagrad", 0.1, **{option: wrong})
    decayed = Shampoo(weight_decay=0.1)
    with pytest.raises(ValueError, match="update needs params="):
        decayed.update(jnp.ones(2), decayed.init(jnp.ones(2)))
