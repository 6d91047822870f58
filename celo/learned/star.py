"""STAR (Harrison et al. 2022, arXiv 2209.11208): the small MLP beside a step that needs no learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import checks, features, mlp
from celo.learned import adafac_mlp
from celo.learned.adafac_mlp import MAGNITUDE_MULTIPLIER, STEP_MULTIPLIER, per_parameter
from celo.learned.base import Theta, WithKernels

OUTPUTS = 4


@dataclasses.dataclass(frozen=True)
class Star(WithKernels):
    """The update rule of `adafac_mlp`, preconditioned, beside a nominal step of Adam at three momenta.

    With ``r = rsqrt(v + 1e-6)`` and the outputs d, m_b, m_g, m_w of one MLP, 39 -> 4 -> 4 -> 4:
    ``p <- p - 0.001 d r exp(0.001 m_b) - nominal_step exp(0.001 m_g) mean_k(m_k r) - weight_decay exp(0.001
    m_w) p``. Outputs of zero leave the nominal step alone. It reads neither the loss nor the horizon.

    The heavy regularisation that the paper's name stands for is decay of theta in meta-training: the weight
    decay of the outer optimizer.

    Attributes:
        nominal_step: size of the nominal step.
        weight_decay: part of every parameter lost in a step, in [0, 1).
        precondition: whether r multiplies the learned direction.
    """

    nominal_step: checks.NonNegative = 0.001
    weight_decay: checks.Decay = 0.0
    precondition: checks.Flag = True

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ..., "decays": ...}``, float32, 207 numbers.

        The last layer is zero: meta-training starts from the nominal step, since a random direction times r,
        which is up to 1000, diverges.
        """
        weights = mlp.init(key, (adafac_mlp.MLP_INPUTS, *adafac_mlp.MLP_HIDDEN, OUTPUTS))
        return {"mlp": {**weights, "w2": jnp.zeros_like(weights["w2"])}, "decays": adafac_mlp.init_decays()}

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        del horizon
        return per_parameter(theta, self.step_tensor, OUTPUTS, kernels)

    def step_tensor(self, outputs: list[Array], p: Array, momenta: Sequence[Array], v: Array) -> Array:
        """The step of one tensor from the outputs of the MLP.

        Args:
            outputs: direction, and the logarithmic magnitudes of the learned step, the nominal step and the
                weight decay, each times 1000.
            p: parameters before the step, float32.
            momenta: first moments, updated with the gradient.
            v: second moment, updated with the gradient.

        Returns:
            The step, to be subtracted from ``p``.
        """
        direction, *magnitudes = outputs
        learned, nominal, decay = (jnp.exp(MAGNITUDE_MULTIPLIER * m) for m in magnitudes)
        r = jax.lax.rsqrt(v + features.EPSILON_RMS)
        step = STEP_MULTIPLIER * direction * learned * (r if self.precondition else 1.0)
        adam = r * sum(momenta[1:], momenta[0]) / len(momenta)
        return step + self.nominal_step * nominal * adam + self.weight_decay * decay * p
