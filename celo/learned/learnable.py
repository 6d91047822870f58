"""Adam and gradient descent with meta-learned hyperparameters (VeLO, arXiv 2211.09760, appendix B.6)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from celo.baselines import hand_designed
from celo.learned import base
from celo.learned.base import PyTree


def _decay(x: Array) -> Array:
    """``1 - exp(min(x, 0))``: never below 0, whatever meta-training does to x."""
    return 1.0 - jnp.exp(jnp.minimum(x, 0.0))


def _log(value: float) -> Array:
    return jnp.log(jnp.asarray(value, jnp.float32))


@dataclasses.dataclass(frozen=True)
class LearnableAdam:
    """Adam with a meta-learned learning rate, decays and epsilon.

    ``p <- p - lr m^ / (eps + sqrt(v^ + 1e-8))`` with ``lr = exp(x)``, ``eps = exp(z)`` and decays ``1 -
    exp(y)``. It reads neither the loss nor the horizon.
    """

    def init(self, key: Array) -> dict[str, Array]:
        """Four numbers: a rate of 0.001, decays of 0.9 and 0.999, an epsilon of 1e-8. The key is not used."""
        del key
        return {
            "log_learning_rate": _log(1e-3),
            "log_one_minus_b1": _log(1.0 - 0.9),
            "log_one_minus_b2": _log(1.0 - 0.999),
            "log_epsilon": _log(1e-8),
        }

    def trainable(self, theta: dict[str, Array], stage: int) -> PyTree:
        """Either stage trains all of theta."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self, theta: dict[str, Array], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """Adam with these hyperparameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, and not used.

        Returns:
            An optax transformation, `celo.hand_designed("adam", ...)`; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1.
        """
        return hand_designed(
            "adam",
            jnp.exp(_checked(self, theta, num_steps)["log_learning_rate"]),
            b1=_decay(theta["log_one_minus_b1"]),
            b2=_decay(theta["log_one_minus_b2"]),
            eps=jnp.exp(theta["log_epsilon"]),
        )


@dataclasses.dataclass(frozen=True)
class LearnableSGD:
    """Gradient descent with a meta-learned learning rate, ``p <- p - exp(x) g``.

    It reads neither the loss nor the horizon.
    """

    def init(self, key: Array) -> dict[str, Array]:
        """One number, for a rate of 0.01. The key is not used."""
        del key
        return {"log_learning_rate": _log(1e-2)}

    def trainable(self, theta: dict[str, Array], stage: int) -> PyTree:
        """Either stage trains all of theta."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self, theta: dict[str, Array], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """Gradient descent with this learning rate.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, and not used.

        Returns:
            An optax transformation, `celo.hand_designed("sgd", ...)`; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1.
        """
        return hand_designed("sgd", jnp.exp(_checked(self, theta, num_steps)["log_learning_rate"]))


def _checked(learned: Any, theta: dict[str, Array], num_steps: float | Array) -> dict[str, Array]:
    base.check_theta(learned, theta)
    base.check_num_steps(num_steps)
    return theta
