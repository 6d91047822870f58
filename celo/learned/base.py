"""The contract of learned optimizers, their base class, and the way to an optax transformation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import checks, pallas, parameters, trees
from celo._core.averages import PyTree

Stage = int | str
"""What a stage of meta-training trains: "rule" (or 1), "scheduler" (or 2) or "both"."""

TRAINS = {1: "rule", 2: "scheduler", "rule": "rule", "scheduler": "scheduler", "both": "both"}

Theta = dict[str, PyTree]
Step = Callable[[PyTree, Any, PyTree, Any], tuple[PyTree, Any]]


@runtime_checkable
class LearnedOptimizer(Protocol):
    """A learned optimizer: a small frozen dataclass holding its configuration, and three functions."""

    def init(self, key: Array) -> PyTree:
        """Draws meta-parameters: a pytree of float32 arrays."""
        ...

    def optimizer(self, theta: PyTree, num_steps: float | Array) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters for a training of ``num_steps`` steps."""
        ...

    def trainable(self, theta: PyTree, stage: Stage) -> PyTree:
        """A pytree of bools shaped like ``theta``: what meta-training trains in this stage."""
        ...


@dataclasses.dataclass(frozen=True)
class Learned:
    """Base of the learned optimizers: checked fields, `trainable` and `optimizer`.

    A subclass adds `init`, `_transformation` and the fields of its configuration, annotated as in
    `celo._core.checks`.

    Attributes:
        reads_loss: whether ``update`` needs the loss as ``value=``.
    """

    reads_loss: ClassVar[bool] = False
    scheduler_parts: ClassVar[tuple[str, ...] | None] = None
    """Keys of theta that are the scheduler, where it trains apart from the rule; None: all trains at once."""
    scheduler_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of the configuration that the update rule alone does not read."""

    def __post_init__(self) -> None:
        """Checks the configuration."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        checks.check_options(type(self), fields)

    def init(self, key: Array) -> Theta:
        """Draws meta-parameters: nested dictionaries of float32 arrays."""
        raise NotImplementedError

    def trainable(self, theta: Theta, stage: Stage) -> Theta:
        """What a stage of meta-training trains.

        Args:
            theta: meta-parameters, or their shapes.
            stage: "rule" or 1, "scheduler" or 2, or "both". Only Celo's two parts train apart; any stage
                trains all of another optimizer.

        Returns:
            Bools shaped like ``theta``.

        Raises:
            ValueError: for another stage.
        """
        trains = check_trains(stage)

        def trained(part: str) -> bool:
            if self.scheduler_parts is None or trains == "both":
                return True
            return (part in self.scheduler_parts) == (trains == "scheduler")

        return jax.tree_util.tree_map_with_path(lambda path, _: trained(path[0].key), theta)

    def optimizer(self, theta: Theta, num_steps: float | Array) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, a whole number of at least 1; may be traced. It
                is checked even by an optimizer that does not follow the horizon.

        Returns:
            An optax transformation whose updates are added to the parameters. If `reads_loss`, its ``update``
            takes the scalar loss as ``value=``; it ignores it otherwise.

        Raises:
            ValueError: if theta does not fit the configuration or num_steps is below 1; by ``update``, if the
                parameters or the loss are missing, or the gradients do not fit the parameters.
            TypeError: if num_steps is not a whole number; by ``update``, if gradients or loss are not
                floating-point numbers.
        """
        check_theta(self, theta)
        return self._transformation(theta, checks.check_num_steps(num_steps))

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        """The optimizer, after the checks."""
        raise NotImplementedError


class WithKernels(Learned):
    """Base of the learned optimizers whose update has kernels; `_transformation` takes them as an option."""

    def optimizer(
        self, theta: Theta, num_steps: float | Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: as for `Learned.optimizer`.
            num_steps: as for `Learned.optimizer`.
            kernels: "pallas" = on CUDA the update of a tensor runs in two Pallas kernels
                (`celo._core.pallas`); "plain" = XLA fuses all of it, as it does elsewhere in either case.

        Returns:
            As `Learned.optimizer`.

        Raises:
            ValueError: as `Learned.optimizer`, and for other ``kernels``.
            TypeError: as `Learned.optimizer`.
            ImportError: if this JAX is too old for the kernels.
        """
        check_theta(self, theta)
        pallas.check_kernels(kernels)
        return self._transformation(theta, checks.check_num_steps(num_steps), kernels)

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer, after the checks."""
        raise NotImplementedError


def check_trains(stage: Stage) -> str:
    """What a stage trains, "rule", "scheduler" or "both".

    Raises:
        ValueError: for anything but these and 1 and 2.
    """
    if type(stage) not in (int, str) or stage not in TRAINS:  # True and 1.0 are equal to 1
        raise ValueError(
            f"stage is {stage!r}; expected 1 (update rule alone) or 2 (with scheduler), or 'rule', "
            "'scheduler' or 'both'"
        )
    return TRAINS[stage]


@functools.lru_cache(maxsize=64)
def theta_shapes(learned: LearnedOptimizer) -> PyTree:
    """Shapes and dtypes of the meta-parameters of a configuration, without computing them."""
    return jax.eval_shape(learned.init, jax.eval_shape(lambda: jax.random.key(0)))


def check_theta(learned: LearnedOptimizer, theta: PyTree) -> None:
    """Checks that meta-parameters fit a configuration.

    Raises:
        ValueError: naming the leaf, the expected and the found shape and dtype, of each that does not fit.
    """
    expected, found = (_specs(tree) for tree in (theta_shapes(learned), theta))
    wrong = trees.mismatches(expected, found)
    if wrong:
        raise ValueError(f"theta does not fit {learned}: {wrong}")


def _specs(tree: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {trees.path_name(path): trees.spec(leaf) for path, leaf in leaves}


def owned(state: PyTree) -> PyTree:
    """A copy of a state whose arrays share no buffer with each other or with meta-parameters.

    A caller may then donate it: `jax.jit` refuses one buffer given twice, and frees what it receives.
    """
    return jax.tree.map(lambda x: jnp.array(x, copy=True), state)


def transformation(
    init: optax.TransformInitFn, step: Step, reads_loss: bool = False
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation whose updates are added to the parameters, ``p <- p - step``.

    Args:
        init: ``init(params) -> state``.
        step: ``step(grads, state, params, loss) -> (steps, state)``; what it returns is subtracted from the
            parameters. ``loss`` is a () float32 array, or None if it does not read it.
        reads_loss: whether ``update`` needs the loss as ``value=``.

    Returns:
        The transformation; ``update(grads, state, params, value=loss)`` takes any further keyword. An update
        has the shape and dtype of its parameter. ``init`` and ``update`` raise as `Learned.optimizer` says;
        ``init`` and ``step`` never see a tensor without entries.
    """

    def start(params: PyTree) -> Any:
        parameters.check_parameters(params)
        return owned(init(parameters.without_empty(params)))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        del extra
        params = checks.check_params(params)
        parameters.check_gradients(updates, params)
        loss: Array | None = checks.check_value(value) if reads_loss else None
        grads, seen = parameters.without_empty(updates), parameters.without_empty(params)
        steps, state = step(grads, state, seen, loss)
        return parameters.updates_like(jax.tree.map(lambda s: -s, steps), params), state

    return optax.GradientTransformationExtraArgs(start, update)
