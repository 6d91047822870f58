"""The exact meta-gradient, by backpropagation through whole inner trainings."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Steps, Thetas
from celo.meta.estimators.terms import log_loss
from celo.meta.estimators.whole import FINAL, WholeTrainings


@dataclasses.dataclass(frozen=True)
class Backprop(WholeTrainings):
    """Reverse-mode gradient of the meta-loss of fresh inner problems, unrolled to their ends.

    ``gradient = mean over problems of g``, where g is the derivative of ``mean_t L_t`` (objective "mean"), of
    ``mean_t log L_t`` ("log") or of the loss after the last step, on `final_batches` fresh batches ("final").
    Through long or unstable trainings g grows without bound (Metz et al. 2019, arXiv 1810.10180); with
    `normalize`, one such problem does not outweigh all others.

    It tells what evolution strategies need as many perturbations for as theta has numbers. The state before
    every `length` steps is kept; the steps are computed again for the gradient. Nothing is perturbed: `sigma`
    is not used.
    """

    def gradient(
        self, parts: Parts, task: Any, key: Array, iteration: Array, horizon: Array
    ) -> tuple[Array, Steps]:
        """One problem's gradient, (size,), and the record of its training."""
        flat, unravel = ravel_pytree(parts.trained)

        def objective(flat: Array) -> tuple[Array, Steps]:
            thetas = Thetas((jax.tree.map(lambda x: x[None], unravel(flat)),), parts.frozen)
            problem, steps = self.whole(lambda _: thetas, task, key, iteration, horizon)
            if self.objective == "final":
                last = jax.random.fold_in(key, FINAL)
                return self.inner.final_loss(task, problem, last, self.final_batches)[0], steps
            loss = steps.loss
            if self.objective == "log":
                loss = jnp.where(steps.mask[:, None], log_loss(loss), 0.0)
            return jnp.sum(loss) / jnp.sum(steps.mask, dtype=jnp.float32), steps

        return jax.grad(objective, has_aux=True)(flat)
