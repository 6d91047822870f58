"""Wrappers that optax lacks: averages in bfloat16, decay through the loss, training past the horizon.

The rest is optax's: `optax.chain(optax.clip_by_global_norm(1.0), optimizer)` clips gradients,
`optax.MultiSteps(optimizer, 4)` accumulates them (outermost: within `optax.chain` it drops ``value``), and
`optax.chain(optimizer, optax.add_decayed_weights(-1e-4))` is decoupled weight decay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.core import Tracer

from celo._core import checks, parameters
from celo._core.rounding import RoundedState, rounded_state

__all__ = [
    "RoundedState",
    "full_reset",
    "increase_steps",
    "loss_weight_decay",
    "naive",
    "reset_steps",
    "rounded_state",
]

PyTree = Any


def loss_weight_decay(
    inner: optax.GradientTransformation, weight_decay: checks.NonNegative
) -> optax.GradientTransformationExtraArgs:
    """Weight decay that a learned optimizer sees: ``L + weight_decay / 2 * sum(p^2)`` in place of the loss L.

    The gradient becomes ``g + weight_decay p`` and ``value`` the penalised loss, as if the loss function had
    the penalty in it. VeLO is used like this: a learned optimizer may undo decay that it does not see. The
    reference implementation adds twice this penalty to the loss, and the same term to the gradient.

    Args:
        inner: the optimizer; it gets gradients in float32.
        weight_decay: at least 0; 1e-6 is the value its authors recommend for VeLO. May be traced.

    Returns:
        An optax transformation with the state of ``inner``.

    Raises:
        ValueError: for a weight decay that is negative or not finite; by ``update``, without parameters, or
            for gradients that do not fit them.

    Source: VeLO, arXiv 2211.09760.

    Example:
        >>> import celo, jax
        >>> learned = celo.learned_optimizer("velo_s")
        >>> theta = learned.init(jax.random.key(0))
        >>> optimizer = loss_weight_decay(learned.optimizer(theta, num_steps=100), 1e-6)
    """
    checks.check_options(loss_weight_decay, {"weight_decay": weight_decay})
    inner = optax.with_extra_args_support(inner)

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        params = checks.check_params(params)
        parameters.check_gradients(updates, params)
        wide = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
        grads = jax.tree.map(lambda g, p: jnp.asarray(g, jnp.float32) + weight_decay * p, updates, wide)
        if value is not None:
            squares = [jnp.sum(jnp.square(p)) for p in jax.tree.leaves(wide)]
            value = checks.check_value(value) + 0.5 * weight_decay * sum(squares, jnp.zeros((), jnp.float32))
        return inner.update(grads, state, params, value=value, **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def naive(state: PyTree) -> PyTree:
    """Continues past the horizon with the state as it is: progress grows beyond 1.

    Args:
        state: state of an optimizer, or of optax transformations around one.

    Returns:
        The same state.

    Source: VeLO, arXiv 2211.09760, section 4.4.3, as the next three.
    """
    return state


def full_reset(state: PyTree, optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    """Starts over past the horizon: a fresh state for the parameters reached.

    Args:
        state: state of ``optimizer``, for the check that the new one has its structure.
        optimizer: the optimizer, built for the horizon to come.
        params: the parameters reached.

    Returns:
        A fresh state.

    Raises:
        ValueError: if ``optimizer`` has another kind of state.
    """
    new = optimizer.init(params)
    if jax.tree.structure(new) != jax.tree.structure(state):
        raise ValueError(
            f"the optimizer's state is {jax.tree.structure(new)}; the state to reset is "
            f"{jax.tree.structure(state)}"
        )
    return new


def reset_steps(state: PyTree) -> PyTree:
    """Counts steps from 0 again past the horizon; all averages and memories stay.

    Args:
        state: state of an optimizer that follows a horizon, or of optax transformations around one.

    Returns:
        The state with its count of steps at 0.

    Raises:
        ValueError: if nothing in the state follows a horizon.
    """
    return _replace(state, lambda found: found._replace(count=jnp.zeros_like(found.count)))


def increase_steps(state: PyTree, num_steps: float | Array) -> PyTree:
    """Moves the horizon: progress is measured against ``num_steps`` from now on.

    The averages of the loss keep the decays of the first horizon.

    Args:
        state: state of an optimizer that follows a horizon, or of optax transformations around one.
        num_steps: the new horizon, counted from the first step; may be traced.

    Returns:
        The state with the new horizon.

    Raises:
        ValueError: if nothing in the state follows a horizon, or if the new one is not beyond the old.
    """
    horizon = checks.check_num_steps(num_steps)

    def move(found: Any) -> Any:
        known = not isinstance(horizon, Tracer) and not isinstance(found.num_steps, Tracer)
        if known and not bool(jnp.all(horizon > found.num_steps)):
            raise ValueError(f"num_steps is {horizon}; expected more than the {found.num_steps} of the state")
        return found._replace(num_steps=jnp.full_like(found.num_steps, horizon))

    return _replace(state, move)


def _follows_a_horizon(part: Any) -> bool:
    return isinstance(part, tuple) and {"count", "num_steps"} <= set(getattr(part, "_fields", ()))


def _replace(state: PyTree, change: Callable[[Any], Any]) -> PyTree:
    """Applies a change to every state within a state that follows a horizon."""
    parts = jax.tree.leaves(state, is_leaf=_follows_a_horizon)
    if not any(map(_follows_a_horizon, parts)):
        raise ValueError(
            "nothing in this state follows a horizon; expected the state of celo, celo_adam, celo2_auto, "
            "velo or velo_s"
        )
    return jax.tree.map(
        lambda part: change(part) if _follows_a_horizon(part) else part, state, is_leaf=_follows_a_horizon
    )
