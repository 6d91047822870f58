"""The MLP over momenta of Metz et al. 2019 (arXiv 1810.10180)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo._core import averages, features, mlp, parameters, tensors
from celo._core.averages import PyTree
from celo._core.normalisers import inverse_rms
from celo.learned.base import Learned, Theta, transformation

# In float32, as the reference has them: 1 - 0.9999 is then 1.0002e-4, the weight of the newest gradient.
DECAYS = np.asarray((0.1, 0.5, 0.9, 0.99, 0.999, 0.9999), np.float32)
NUM_FEATURES = 2 + len(DECAYS)
MLP_SIZES = (NUM_FEATURES + features.NUM_TIME_FEATURES, 32, 32, 2)
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
class MlpLopt(Learned):
    """One MLP, 19 -> 32 -> 32 -> 2, at every parameter; it reads neither the loss nor the horizon.

    ``p <- p - 0.001 d exp(0.001 m)`` with d and m from the gradient, the parameter and six momenta, each
    normalised over its tensor, and 11 features of time.
    """

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ...}``, float32, 1,762 numbers."""
        return {"mlp": mlp.init(key, MLP_SIZES)}

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon

        def init(params: PyTree) -> PyTree:
            zeros = averages.zeros_like(params)
            return MlpLoptState(jnp.zeros((), jnp.int32), (zeros,) * len(DECAYS))

        def step(
            grads: PyTree, state: MlpLoptState, params: PyTree, loss: None
        ) -> tuple[PyTree, MlpLoptState]:
            del loss
            conditioned = mlp.condition(theta["mlp"], features.tanh_time(state.count))

            def rule(p: Array, g: Array, *momenta: Array) -> tuple[Array, ...]:
                p, g = jnp.asarray(p, jnp.float32), parameters.bounded(g)
                momenta = tuple(averages.average(m, g, d) for m, d in zip(momenta, DECAYS, strict=True))
                inputs = [g, p, *momenta]
                direction, magnitude = mlp.apply_wide(conditioned, inputs, inverse_rms(inputs))
                return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude), *momenta

            steps, *momenta = tensors.map_tensors(1 + len(DECAYS), rule, params, grads, *state.momenta)
            return steps, MlpLoptState(state.count + 1, tuple(momenta))

        return transformation(init, step)
