"""Celo2-auto: Celo's scheduler over Celo2's directions, so that there is no learning rate to tune."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import jax
import optax
from jax import Array

from celo._core import checks, mlp
from celo._core.averages import TensorStatistics
from celo._core.scheduler import FORMS, SCALE, NoScheduler, Scheduler, SharedScheduler
from celo.learned import celo2
from celo.learned.base import Theta, WithKernels
from celo.learned.celo import scheduled


@dataclasses.dataclass(frozen=True)
class Celo2Auto(WithKernels):
    """Celo2's rule gives every tensor its direction, Celo's scheduler gives all tensors one step size.

    With d the output of Celo2's MLP: ``p <- p - 0.01 eta_t d / rms(d)``, the root mean square taken over the
    last two axes. An untrained scheduler has eta near 0.1, so that its meta-training starts near the rate of
    stage 1, which is Celo2-base at its default rate: ``p <- p - 0.001 d / rms(d)``. ``state.eta`` is the last
    step size. In stage 2 it reads the loss and follows the horizon.

    Attributes:
        stage: 1 = update rule alone, 2 = with the scheduler. Meta-parameters have the same structure in both.
        form: how the scheduler's output becomes a step size: "exp", "linear" or "linear_clip".
        orthogonal: whether the directions of rank 2 and more are orthogonalised, as those of Celo2 are.
    """

    scheduler_parts: ClassVar[tuple[str, ...] | None] = ("scheduler",)
    scheduler_fields: ClassVar[tuple[str, ...]] = ("form",)

    stage: Annotated[int, checks.OneOf((1, 2), "1 (update rule alone) or 2 (with scheduler)")] = 2
    form: Annotated[str, checks.OneOf(FORMS)] = "exp"
    orthogonal: checks.Flag = False

    @property
    def scheduler(self) -> Scheduler:
        """What sets the step sizes."""
        full = SharedScheduler(self.form)
        return full if self.stage == 2 else NoScheduler(full)

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ..., "scheduler": ...}``, float32, 35,996 numbers."""
        key_mlp, key_scheduler = jax.random.split(key)
        return {"mlp": mlp.init(key_mlp, celo2.MLP_SIZES), "scheduler": self.scheduler.init(key_scheduler)}

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        rate = celo2.LEARNING_RATE / (SCALE if self.stage == 2 else 1.0)

        def rule(p: Array, g: Array, statistics: TensorStatistics) -> tuple[Array, TensorStatistics]:
            step, statistics = celo2.step_tensor(theta["mlp"], self.orthogonal, kernels, p, g, statistics)
            return rate * step, statistics

        return scheduled(rule, self.scheduler, theta["scheduler"], horizon)
