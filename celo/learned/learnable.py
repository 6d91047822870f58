"""Adam, gradient descent and momentum with meta-learned hyperparameters (arXiv 2211.09760, B.6)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import optax
from jax import Array

from celo.baselines import hand_designed
from celo.learned.base import Learned, Theta


def _decay(x: Array) -> Array:
    """``1 - exp(min(x, 0))``: never below 0, whatever meta-training does to x."""
    return 1.0 - jnp.exp(jnp.minimum(x, 0.0))


def _log(value: float) -> Array:
    return jnp.log(jnp.asarray(value, jnp.float32))


@dataclasses.dataclass(frozen=True)
class LearnableAdam(Learned):
    """Adam with a meta-learned learning rate, decays and epsilon: `celo.hand_designed("adam", ...)`.

    ``p <- p - lr m^ / (eps + sqrt(v^ + 1e-8))`` with ``lr = exp(x)``, ``eps = exp(z)`` and decays ``1 -
    exp(y)``. It reads neither the loss nor the horizon.
    """

    def init(self, key: Array) -> Theta:
        """Four numbers: a rate of 0.001, decays of 0.9 and 0.999, an epsilon of 1e-8. The key is not used."""
        del key
        return {
            "log_learning_rate": _log(1e-3),
            "log_one_minus_b1": _log(1.0 - 0.9),
            "log_one_minus_b2": _log(1.0 - 0.999),
            "log_epsilon": _log(1e-8),
        }

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon
        return hand_designed(
            "adam",
            jnp.exp(theta["log_learning_rate"]),
            b1=_decay(theta["log_one_minus_b1"]),
            b2=_decay(theta["log_one_minus_b2"]),
            eps=jnp.exp(theta["log_epsilon"]),
        )


@dataclasses.dataclass(frozen=True)
class LearnableSGD(Learned):
    """Gradient descent with a meta-learned learning rate: `celo.hand_designed("sgd", ...)`.

    ``p <- p - exp(x) g``. It reads neither the loss nor the horizon.
    """

    def init(self, key: Array) -> Theta:
        """One number, for a rate of 0.01. The key is not used."""
        del key
        return {"log_learning_rate": _log(1e-2)}

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon
        return hand_designed("sgd", jnp.exp(theta["log_learning_rate"]))


@dataclasses.dataclass(frozen=True)
class LearnableSGDM(Learned):
    """SGD with a meta-learned learning rate and momentum: `celo.hand_designed("sgdm", ...)`.

    ``m <- b m + g``, ``p <- p - exp(x) m`` with ``b = 1 - exp(min(y, 0))``. It reads neither the loss nor the
    horizon.
    """

    def init(self, key: Array) -> Theta:
        """Two numbers: a rate of 0.01 and a momentum of 0.9. The key is not used."""
        del key
        return {"log_learning_rate": _log(1e-2), "log_one_minus_momentum": _log(1.0 - 0.9)}

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon
        rate = jnp.exp(theta["log_learning_rate"])
        return hand_designed("sgdm", rate, momentum=_decay(theta["log_one_minus_momentum"]))
