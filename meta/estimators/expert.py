"""An expert that meta-training imitates less and less (ELO, arXiv 2607.06772).

The expert makes its own update from the running averages that the learned optimizer keeps. The step applied
is ``w u_expert + (1 - w) u``, so trainings go well before theta does, and the meta-loss of a step is

``a (1 - cos(u, u_expert)) + b mean(| |u| - |u_expert| |) + (1 - a - b) loss``.

While the expert withdraws, w falls from 1 to 0, a from 0.7 to 0.3 and b from 0.3 to 0, linearly.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core.newton_schulz import orthogonalise
from celo.learned import celo, celo2
from celo.learned.base import LearnedOptimizer, theta_shapes
from celo.learned.celo2_auto import Celo2Auto
from celo.meta.estimators.problem import Steps
from celo.meta.estimators.terms import Differences

PyTree = Any

RATE, LAST_RATE, RATE_STEPS = 1e-2, 1e-4, 10_000  # cosine, in steps of the inner training
ADAM_FACTOR, EPSILON = 0.3, 1e-8
DIRECTION, MAGNITUDE = (0.7, 0.3), (0.3, 0.0)
SCALE = 0.01
FIRST, LAST = 0.05, 0.5  # where in a stage the expert withdraws: 5,000 to 50,000 of the published 100,000


@dataclasses.dataclass(frozen=True)
class Expert:
    """The expert of a stage.

    Attributes:
        kind: "adam": Adam with bias correction, at 0.3 of the rate; "muon": the orthogonalised momentum for
            matrices, at the rate, and Adam for the rest. The rate follows a cosine from 1e-2 to 1e-4 over
            10,000 inner steps.
        iterations: meta-iterations of the stage. The expert withdraws between 5 % and 50 % of them.
        v_decay: decay of the second moment that the learned optimizer keeps.

    Example:
        >>> expert = Expert("adam", iterations=1000)
        >>> [round(float(expert.weight(jnp.int32(i))), 2) for i in (0, 50, 275, 500, 999)]
        [1.0, 1.0, 0.5, 0.0, 0.0]
    """

    kind: Literal["adam", "muon"]
    iterations: int
    v_decay: float = 0.999

    def weight(self, iteration: Array) -> Array:
        """The share w of the expert in each step at a meta-iteration, () int32."""
        done = iteration.astype(jnp.float32) / self.iterations
        return 1.0 - jnp.clip((done - FIRST) / (LAST - FIRST), 0.0, 1.0)

    def update(self, opt_state: PyTree, age: Array) -> PyTree:
        """The expert's update, to be added to the parameters, like them.

        Args:
            opt_state: state of the learned optimizer after its own update.
            age: () int32, steps done before this one.
        """
        statistics = _statistics(opt_state)
        done = jnp.minimum(age.astype(jnp.float32) / RATE_STEPS, 1.0)
        rate = LAST_RATE + (RATE - LAST_RATE) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        count = (age + 1).astype(jnp.float32)
        m_scale, v_scale = (1.0 - jnp.exp(count * math.log(d)) for d in (_M_DECAY, self.v_decay))

        def of_tensor(m: Array, v: Array) -> Array:
            if self.kind == "muon" and m.ndim == 2:
                rows, columns = m.shape
                return -rate * max(1.0, columns / rows) ** 0.5 * orthogonalise(m)
            return -rate * ADAM_FACTOR * (m / m_scale) / (jnp.sqrt(v / v_scale) + EPSILON)

        return jax.tree.map(of_tensor, statistics.momenta[0], statistics.v)

    def mix(self, updates: PyTree, opt_state: PyTree, age: Array, weight: Array) -> tuple[PyTree, Array]:
        """``w u_expert + (1 - w) u``, and (2,) the distances of u from u_expert: direction and magnitude."""
        proposed = self.update(opt_state, age)
        mixed = jax.tree.map(
            lambda e, u: (weight * e + (1.0 - weight) * u).astype(u.dtype), proposed, updates
        )
        return mixed, distances(updates, proposed)

    def differences(self, steps: Steps, iteration: Array, axis: str | None) -> Differences:
        """`Differences` of the meta-loss, of many problems: fields (families, problems, K, ...).

        Each of the three parts is a difference between the signs, divided by its root mean square over the
        problems and steps of its family, and multiplied by 0.01.
        """
        mask = steps.mask.astype(jnp.float32)
        assert steps.imitation is not None  # every step is mixed with the expert's
        found = [steps.loss, *(steps.imitation[..., i] for i in (0, 1))]
        loss, direction, magnitude = (SCALE * _by_rms(x[..., 0] - x[..., 1], mask, axis) for x in found)
        left = self.weight(iteration)
        a, b = (low + (high - low) * left for high, low in (DIRECTION, MAGNITUDE))
        delta = a * direction + b * magnitude + (1.0 - a - b) * loss
        return Differences(delta, jnp.maximum(jnp.sum(mask, axis=-1), 1.0))


def distances(u: PyTree, expert: PyTree) -> Array:
    """(2,) ``1 - cos(u, u_expert)`` and ``mean(| |u| - |u_expert| |)`` over all parameters.

    Example:
        >>> distances({"w": jnp.array([3.0, 0.0])}, {"w": jnp.array([0.0, 1.0])}).tolist()
        [1.0, 2.0]
    """
    pairs = [
        (jnp.asarray(a, jnp.float32), b)
        for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(expert), strict=True)
    ]
    dot, first, second, size = (
        functools.reduce(jnp.add, [jnp.sum(of(a, b)) for a, b in pairs])
        for of in (
            lambda a, b: a * b,
            lambda a, b: a * a,
            lambda a, b: b * b,
            lambda a, b: jnp.abs(jnp.abs(a) - jnp.abs(b)),
        )
    )
    norms = jnp.sqrt(first) * jnp.sqrt(second)
    cosine = jnp.where(norms > 0, dot / jnp.where(norms > 0, norms, 1.0), 0.0)
    return jnp.stack([1.0 - cosine, size / sum(a.size for a, _ in pairs)])


def expert_of(kind: Literal["adam", "muon"], learned: LearnedOptimizer, iterations: int) -> Expert:
    """The expert of a learned optimizer.

    Raises:
        ValueError: the optimizer does not keep running averages for every parameter.
    """
    params = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    shapes = theta_shapes(learned)
    state = jax.eval_shape(lambda theta: learned.optimizer(theta, 10).init(params), shapes)
    found = optax.tree_utils.tree_get_all_with_path(state, "statistics")
    if len(found) != 1 or jax.tree.structure(found[0][1].v) != jax.tree.structure(params):
        raise ValueError(
            f"expert is {kind!r}, and {type(learned).__name__} does not keep the running averages of every "
            "parameter that an expert reads; choose celo, velo, velo_s, adafac_mlp, star, celo2_base or "
            "celo2_auto, or expert none"
        )
    v_decay = celo2.DECAYS.v if isinstance(learned, celo2.Celo2Base | Celo2Auto) else celo.DECAYS.v
    return Expert(kind, iterations, float(v_decay))


_M_DECAY = 0.9  # of the first momentum of every optimizer with these averages


def _statistics(opt_state: PyTree) -> Any:
    ((_, statistics),) = optax.tree_utils.tree_get_all_with_path(opt_state, "statistics")
    return statistics


def _by_rms(x: Array, mask: Array, axis: str | None) -> Array:
    """(families, problems, K) differences, 0 where masked, over their RMS in each family."""
    x = jnp.where(mask > 0, x, 0.0)
    sums = jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True), jnp.sum(mask, axis=(1, 2), keepdims=True)
    square, count = sums if axis is None else jax.lax.psum(sums, axis)
    mean = square / jnp.maximum(count, 1.0)
    return x * jnp.where(mean > 0, jax.lax.rsqrt(jnp.where(mean > 0, mean, 1.0)), 0.0)
