"""Celo2 (arXiv 2602.19142): Celo2-base with orthogonalised matrices, Adam for all that is no matrix."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import accumulators
from celo.baselines import contract
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.celo2_base import LEARNING_RATE, Celo2Base, scale_by_celo2, with_rate
from celo.learned.transformation import transformation

ADAM_B1 = 0.9
ADAM_B2 = 0.95
ADAM_EPSILON = 1e-8
ADAM_MULTIPLIER = 20.0
ADAM_NAMES = r"(?i)embed|(^|[/_])head(/|$)"
"""Paths of embeddings and heads."""


class AdamState(NamedTuple):
    """State of `scale_by_uncorrected_adam`: first and second moments, float32."""

    m: PyTree
    v: PyTree


def scale_by_uncorrected_adam() -> optax.GradientTransformationExtraArgs:
    """``-m rsqrt(v + 1e-8)`` with decays 0.9 and 0.95, and no bias correction."""

    def rule(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
        del p
        g = base.bounded(g)
        m, v = accumulators.average(m, g, ADAM_B1), accumulators.average(v, jnp.square(g), ADAM_B2)
        return m * jax.lax.rsqrt(v + ADAM_EPSILON), m, v

    def init(params: PyTree) -> PyTree:
        zeros = base.float32_zeros(params)
        return AdamState(zeros, zeros)

    def step(grads: PyTree, state: AdamState, params: PyTree, loss: None) -> tuple[PyTree, AdamState]:
        del loss
        steps, m, v = base.map_tensors(3, rule, params, grads, state.m, state.v)
        return steps, AdamState(m, v)

    return transformation(init, step, reads_loss=False)


def _times(learning_rate: optax.ScalarOrSchedule, factor: float) -> optax.ScalarOrSchedule:
    if callable(learning_rate):
        return lambda count: factor * learning_rate(count)
    return factor * learning_rate


@dataclasses.dataclass(frozen=True)
class Celo2:
    """Hidden matrices take the learned rule, orthogonalised; embeddings, heads and vectors take Adam.

    ``p <- p - lr (d / rms(d) + weight_decay p)`` with d the direction of Celo2-base, made orthogonal from
    rank 2 on (`celo._core.newton_schulz`); Adam: ``p <- p - 20 lr (m rsqrt(v + 1e-8) + weight_decay p)``.
    It reads neither the loss nor the horizon.

    Attributes:
        adam_paths: regular expression; the parameters in whose path (keys joined by ``/``) it is found take
            Adam, and no others; "" is found in none. By default those of rank below 2 do, and those named
            like an embedding or a head (`ADAM_NAMES`).
    """

    adam_paths: str | None = None

    def __post_init__(self) -> None:
        """Checks the configuration."""
        try:
            re.compile(self.adam_paths or "")
        except (re.error, TypeError) as error:
            raise ValueError(f"adam_paths is {self.adam_paths!r}, no regular expression: {error}") from error

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters, those of Celo2-base: ``{"mlp": ...}``, float32, 347 numbers."""
        return Celo2Base().init(key)

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: there is no scheduler."""
        return Celo2Base().trainable(theta, stage)

    def labels(self, params: PyTree) -> PyTree:
        """Which rule each parameter takes: "adam" or "learned", in a tree like ``params``."""
        expression = ADAM_NAMES if self.adam_paths is None else self.adam_paths

        def label(path: tuple, p: Array) -> str:
            named = expression and re.search(
                expression, jax.tree_util.keystr(path, simple=True, separator="/")
            )
            return "adam" if named or (self.adam_paths is None and jnp.ndim(p) < 2) else "learned"

        return jax.tree_util.tree_map_with_path(label, params)

    def optimizer(
        self,
        theta: dict[str, PyTree],
        num_steps: float | Array,
        learning_rate: optax.ScalarOrSchedule = LEARNING_RATE,
        weight_decay: float | Array = 0.0,
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, but not used: the rate
                has a schedule of its own.
            learning_rate: a number, traced or not, or an optax schedule; meta-training uses the default.
            weight_decay: decoupled; multiplied by the learning rate, for Adam's parameters by 20 times it.

        Returns:
            An optax transformation; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit, or if num_steps or learning_rate is out of range; by
                ``update``, without parameters.
        """
        base.check_theta(self, theta)
        base.check_num_steps(num_steps)
        contract.check_learning_rate(learning_rate)
        learned = scale_by_celo2(theta, orthogonalise=True)
        adam_rate = _times(learning_rate, ADAM_MULTIPLIER)
        halves: dict[Hashable, optax.GradientTransformation] = {
            "learned": with_rate(learned, learning_rate, weight_decay),
            "adam": with_rate(scale_by_uncorrected_adam(), adam_rate, weight_decay),
        }
        return contract.in_float32(optax.partition(halves, self.labels))
