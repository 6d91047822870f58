"""The MLP over momenta of Metz et al. 2019 (arXiv 1810.10180)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo._core import accumulators, mlp, mlp_context, time_features, wide_mlp
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

# In float32, as the reference has them: 1 - 0.9999 is then 1.0002e-4, the weight of the newest gradient.
DECAYS = np.asarray((0.1, 0.5, 0.9, 0.99, 0.999, 0.9999), np.float32)
NUM_FEATURES = 2 + len(DECAYS)
MLP_SIZES = (NUM_FEATURES + time_features.NUM_TIME_FEATURES, 32, 32, 2)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001


class MlpLoptState(NamedTuple):
    """State: arrays only.

    Attributes:
        count: () int32, steps done.
        momenta: six trees of first moments, float32.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    momenta: tuple[PyTree, ...]


@dataclasses.dataclass(frozen=True)
class MlpLopt:
    """One MLP, 19 -> 32 -> 32 -> 2, at every parameter; it reads neither the loss nor the horizon.

    ``p <- p - 0.001 d exp(0.001 m)`` with d and m from the gradient, the parameter and six momenta, each
    normalised over its tensor, and 11 features of time.
    """

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"mlp": ...}``, float32, 1,762 numbers."""
        return {"mlp": mlp.init(key, MLP_SIZES)}

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: there is no scheduler."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self, theta: dict[str, PyTree], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, and not used.

        Returns:
            An optax transformation; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1; by ``update``, without parameters.
        """
        base.check_theta(self, theta)
        base.check_num_steps(num_steps)

        def init(params: PyTree) -> PyTree:
            zeros = base.float32_zeros(params)
            return MlpLoptState(jnp.zeros((), jnp.int32), (zeros,) * len(DECAYS))

        def step(
            grads: PyTree, state: MlpLoptState, params: PyTree, loss: None
        ) -> tuple[PyTree, MlpLoptState]:
            del loss
            conditioned = mlp_context.condition(theta["mlp"], time_features.tanh_features(state.count))

            def rule(p: Array, g: Array, *momenta: Array) -> tuple[Array, ...]:
                p, g = jnp.asarray(p, jnp.float32), base.bounded(g)
                momenta = tuple(accumulators.average(m, g, d) for m, d in zip(momenta, DECAYS, strict=True))
                inputs = [g, p, *momenta]
                direction, magnitude = wide_mlp.apply(conditioned, inputs, mlp.inverse_rms(inputs))
                return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude), *momenta

            steps, *momenta = base.map_tensors(1 + len(DECAYS), rule, params, grads, *state.momenta)
            return steps, MlpLoptState(state.count + 1, tuple(momenta))

        return transformation(init, step, reads_loss=False)
