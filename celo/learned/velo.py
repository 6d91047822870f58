"""VeLO (arXiv 2211.09760): an LSTM per tensor sets its step size and mixes its MLP from a bank."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import averages, checks, lstm, mlp, tensors
from celo._core.averages import PyTree, TensorStatistics
from celo._core.scheduler import Observation, SchedulerState, TensorScheduler
from celo.learned import celo as celo_rule
from celo.learned.base import Theta, WithKernels, transformation


class VeloState(NamedTuple):
    """State of VeLO: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to train for longer.
        statistics: running averages of the gradient, as Celo has them.
        scheduler: state of the scheduler, with one LSTM state per tensor.
        eta: (tensors,) step size of each tensor in the last step, in the order of the tree's leaves; 0
            before the first.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    num_steps: Array
    statistics: TensorStatistics
    scheduler: SchedulerState
    eta: Array


@dataclasses.dataclass(frozen=True)
class Velo(WithKernels):
    """VeLO; with a hidden size of 64 and a bank of 32 it is VeLO-S.

    For each tensor, with the output h of its LSTM: step size ``eta = w h + b``, controls ``c = C h + b``, the
    weights of its MLP ``ff_mult * mean_k(c_k W_k)``; then Celo's update rule with that MLP,
    ``p <- p - eta * 0.001 d exp(0.001 m) rms(p)``. It reads the loss and follows the horizon.

    Attributes:
        hidden: size of the LSTM.
        bank: number of MLPs mixed.
        ff_mult: factor of the mixed weights: 100 for the published VeLO, 1 for all others.
    """

    reads_loss: ClassVar[bool] = True

    hidden: checks.Size = 512
    bank: checks.Size = 256
    ff_mult: Annotated[float, checks.Real("a positive number", lambda x: x > 0.0)] = 1.0

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"bank": ..., "scheduler": ..., "controls": ...}``, float32."""
        keys = jax.random.split(key, 3)
        return {
            "bank": mlp.init_bank(keys[0], self.bank, celo_rule.MLP_SIZES),
            "scheduler": TensorScheduler("linear", self.hidden).init(keys[1]),
            "controls": lstm.init_dense(keys[2], self.hidden, self.bank),
        }

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        scheduler = TensorScheduler("linear", self.hidden)

        rule = functools.partial(_step_tensor, kernels)

        def init(params: PyTree) -> PyTree:
            start, one = scheduler.start(theta["scheduler"], params, horizon)
            zero = jnp.zeros((), jnp.int32)
            return VeloState(zero, horizon, averages.init(params), start, jnp.zeros_like(one))

        def step(grads: PyTree, state: VeloState, params: PyTree, loss: Any) -> tuple[PyTree, VeloState]:
            seen = Observation(loss, state.count, state.num_steps, params, state.statistics)
            hidden, memory = scheduler.outputs(theta["scheduler"], state.scheduler, seen)
            eta = lstm.dense(theta["scheduler"]["step_size"], hidden)[:, 0]
            rules = mlp.mix(theta["bank"], lstm.dense(theta["controls"], hidden), self.ff_mult)
            trees = map(jax.tree.structure(params).unflatten, (rules, list(eta)))
            steps, statistics = tensors.map_statistics(rule, params, grads, state.statistics, *trees)
            return steps, VeloState(state.count + 1, state.num_steps, statistics, memory, eta)

        return transformation(init, step, self.reads_loss)


def _step_tensor(
    kernels: str, p: Array, g: Array, statistics: TensorStatistics, rule: mlp.Weights, step_size: Array
) -> tuple[Array, TensorStatistics]:
    step, statistics = celo_rule.step_tensor(rule, kernels, p, g, statistics)
    return step_size * step, statistics
