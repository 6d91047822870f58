"""VeLO (arXiv 2211.09760): an LSTM per tensor sets its step size and mixes its MLP from a bank."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import dense, gradient_statistics, mlp, mlp_bank, scheduler, tensor_scheduler
from celo._core.gradient_statistics import TensorStatistics
from celo.learned import base
from celo.learned import celo as celo_rule
from celo.learned.base import PyTree
from celo.learned.transformation import transformation


class VeloState(NamedTuple):
    """State of VeLO: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to go on for longer.
        statistics: running averages of the gradient, as Celo has them.
        scheduler: state of the scheduler, with one LSTM state per tensor.
        eta: (tensors,) step size of each tensor in the last step, in the order of the tree's leaves; 0
            before the first.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    num_steps: Array
    statistics: TensorStatistics
    scheduler: scheduler.SchedulerState
    eta: Array


@dataclasses.dataclass(frozen=True)
class Velo:
    """VeLO; with a hidden size of 64 and a bank of 32 it is VeLO-S.

    For each tensor, with the output h of its LSTM: step size ``eta = w h + b``, controls ``c = C h + b``, the
    weights of its MLP ``ff_mult * mean_k(c_k W_k)``; then Celo's update rule with that MLP,
    ``p <- p - eta * 0.001 d exp(0.001 m) rms(p)``.

    Attributes:
        hidden: size of the LSTM.
        bank: number of MLPs mixed.
        ff_mult: factor of the mixed weights: 100 for the published VeLO, 1 for all others.
    """

    hidden: int = 512
    bank: int = 256
    ff_mult: float = 1.0

    def __post_init__(self) -> None:
        """Checks the configuration."""
        base.check_size("hidden", self.hidden)
        base.check_size("bank", self.bank)
        base.check_number("ff_mult", self.ff_mult, "a positive number", lambda x: x > 0.0)

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"bank": ..., "scheduler": ..., "controls": ...}``, float32."""
        keys = jax.random.split(key, 3)
        return {
            "bank": mlp_bank.init(keys[0], self.bank, celo_rule.MLP_SIZES),
            "scheduler": tensor_scheduler.init(keys[1], self.hidden),
            "controls": dense.init(keys[2], self.hidden, self.bank),
        }

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains everything: the rule has no meaning without the LSTM that mixes it."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self, theta: dict[str, PyTree], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """VeLO with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; may be traced.

        Returns:
            An optax transformation whose ``update`` takes the scalar loss as ``value=``.

        Raises:
            ValueError: if theta does not fit the configuration or num_steps is below 1; by ``update``, if the
                parameters or the loss are missing.
        """
        base.check_theta(self, theta)
        horizon = base.check_num_steps(num_steps)

        def init(params: PyTree) -> PyTree:
            tensors = len(jax.tree.leaves(params))
            return VeloState(
                jnp.zeros((), jnp.int32),
                horizon,
                gradient_statistics.init(params),
                tensor_scheduler.init_state(theta["scheduler"], tensors, horizon),
                jnp.zeros((tensors,), jnp.float32),
            )

        def step(grads: PyTree, state: VeloState, params: PyTree, loss: Any) -> tuple[PyTree, VeloState]:
            seen = tensor_scheduler.all_features(params, state.statistics)
            hidden, memory = tensor_scheduler.step(
                theta["scheduler"], state.scheduler, seen, loss, state.count, state.num_steps
            )
            eta = dense.apply(theta["scheduler"]["step_size"], hidden)[:, 0]
            rules = mlp_bank.mix(theta["bank"], dense.apply(theta["controls"], hidden), self.ff_mult)
            structure = jax.tree.structure(params)
            steps, statistics = gradient_statistics.map_tensors(
                _step_tensor,
                params,
                grads,
                state.statistics,
                structure.unflatten(rules),
                structure.unflatten(list(eta)),
            )
            return steps, VeloState(state.count + 1, state.num_steps, statistics, memory, eta)

        return transformation(init, step)


def _step_tensor(
    p: Array, g: Array, averages: TensorStatistics, rule: mlp.Weights, step_size: Array
) -> tuple[Array, TensorStatistics]:
    step, averages = celo_rule.step_tensor(rule, p, g, averages)
    return step_size * step, averages
