"""Guard rails for a learned optimizer: no more steps than meta-training had, and Adam where it diverges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.core import Tracer

from celo._core import checks, parameters
from celo.baselines import hand_designed
from celo.learned.base import owned

PyTree = Any
Transformation = optax.GradientTransformationExtraArgs
Build = Callable[[Any], optax.GradientTransformation]

_MEMORY = 100  # steps that the average of the loss looks back


class GuardedState(NamedTuple):
    """State of `guarded`: arrays only.

    Attributes:
        inner: state of the optimizer.
        adam: state of Adam, which follows every gradient.
        mean_loss: () float32, average of the losses that were not too high.
        losses: () int32, how many of them.
        too_high: () int32, losses in a row that were too high.
        fallen_back: () bool, whether updates are Adam's.
    """

    inner: PyTree
    adam: PyTree
    mean_loss: Array
    losses: Array
    too_high: Array
    fallen_back: Array


class AccumulatedState(NamedTuple):
    """Gradients and losses since the last step: arrays only.

    Attributes:
        inner: state of the transformation that gets their means.
        calls: () int32, calls since its last step.
        grads: sum of their gradients, divided by the calls of a step.
        loss: () float32, the same of their losses.
    """

    inner: PyTree
    calls: Array
    grads: PyTree
    loss: Array


def guarded(
    optimizer: optax.GradientTransformation | Build,
    num_steps: float | Array | None = None,
    *,
    most_steps: checks.Size = 200_000,
    factor: checks.Positive = 4.0,
    patience: checks.Size = 10,
    learning_rate: optax.ScalarOrSchedule = 1e-3,
) -> Transformation:
    """An optimizer that falls back to Adam when the loss diverges, and takes a bounded number of steps.

    With the average ``m`` of the losses, updates are Adam's from the first step at which the loss or an
    update of the optimizer is not finite, or the loss was above ``m + (factor - 1) |m|`` for ``patience``
    steps in a row. Such losses do not enter ``m``, a mean over all losses at first and over about the last
    100 later. Adam follows every gradient, so that its moments are those of the training when it takes over.
    Until then updates and state are bit for bit the optimizer's.

    A training of more than ``most_steps`` steps is longer than any that meta-training has seen. With
    ``num_steps``, gradients and losses are averaged over ``k = ceil(num_steps / most_steps)`` calls, and the
    optimizer takes ``floor(num_steps / k)`` steps, the horizon it is built for. Other calls return updates of
    zero.

    Args:
        optimizer: an optax transformation; with ``num_steps``, a function from a number of steps to one, such
            as `celo.celo` or ``lambda n: celo.velo(n, theta)``.
        num_steps: calls of ``update`` in the training ahead, a whole number of at least 1; may be traced.
            None: nothing is accumulated.
        most_steps: most steps that the optimizer takes.
        factor: how far above its average the loss may be, above 1.
        patience: steps in a row with too high a loss before Adam takes over.
        learning_rate: of Adam (decays 0.9 and 0.999), a number or an optax schedule over the steps taken.

    Returns:
        An optax transformation; its ``update`` needs the loss as ``value=``. `celo.step_size` reads through
        it, and ``optax.tree_utils.tree_get(state, "fallen_back")`` says whether updates are Adam's.
        Parameters that are not finite already stay so: no update repairs them.

    Raises:
        ValueError: for an option out of range, or ``num_steps`` below 1.
        TypeError: if ``optimizer`` is no transformation and no function, or does not go with ``num_steps``;
            if ``num_steps`` is not a whole number.

    Example:
        >>> import celo
        >>> theta = celo.learned_optimizer("learnable_adam").init(jax.random.key(0))
        >>> optimizer = guarded(lambda n: celo.learnable_adam(n, theta), 1_000_000)  # 5 calls a step
        >>> state = optimizer.init(jnp.ones(3))
        >>> updates, state = optimizer.update(jnp.ones(3), state, jnp.ones(3), value=0.5)
        >>> updates, optax.tree_utils.tree_get(state, "fallen_back")
        (Array([0., 0., 0.], dtype=float32), Array(False, dtype=bool))

    Source: 200,000 steps are the longest trainings of VeLO's meta-training (arXiv 2211.09760).
    """
    checks.check_options(guarded, {"most_steps": most_steps, "factor": factor, "patience": patience})
    if not isinstance(factor, Tracer) and float(factor) <= 1.0:
        raise ValueError(f"factor is {factor!r}; expected a number above 1")
    checks.check_learning_rate(learning_rate)
    calls, inner = _calls_and_inner(optimizer, num_steps, most_steps)
    safe = _with_fallback(inner, hand_designed("adam", learning_rate), factor, patience)
    return safe if isinstance(calls, int) and calls == 1 else _accumulated(safe, calls)


def _calls_and_inner(optimizer: Any, num_steps: Any, most_steps: int) -> tuple[int | Array, Transformation]:
    """Calls per step of the optimizer, and the optimizer for the steps that are left."""
    is_transformation = isinstance(optimizer, optax.GradientTransformation)
    if not is_transformation and not callable(optimizer):
        raise TypeError(
            f"optimizer is {optimizer!r}; expected an optax transformation, or a function from a number of "
            "steps to one"
        )
    if num_steps is None:
        if not is_transformation:
            raise TypeError("optimizer is a function of the number of steps; give num_steps too")
        return 1, optax.with_extra_args_support(optimizer)
    horizon = checks.check_num_steps(num_steps)
    if is_transformation:
        raise TypeError(
            f"num_steps is {num_steps!r} and optimizer a transformation, which is built for its own horizon; "
            "expected a function from a number of steps to one, such as celo.celo"
        )
    calls: Any
    if isinstance(num_steps, Tracer):
        calls = jnp.ceil(horizon / most_steps).astype(jnp.int32)
        steps: Any = jnp.floor(horizon / calls.astype(jnp.float32))
    else:
        calls = math.ceil(int(num_steps) / most_steps)
        steps = int(num_steps) // calls
    inner = optimizer(steps)
    if not isinstance(inner, optax.GradientTransformation):
        raise TypeError(f"optimizer({steps}) is {inner!r}; expected an optax transformation")
    return calls, optax.with_extra_args_support(inner)


def _with_fallback(
    inner: Transformation, adam: Transformation, factor: float | Array, patience: int
) -> Transformation:
    """The transformation, or Adam from the first sign of divergence."""

    def init(params: PyTree) -> GuardedState:
        zero, number = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        state = GuardedState(
            inner.init(params), adam.init(params), zero, number, number, jnp.zeros((), jnp.bool_)
        )
        return owned(state)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, GuardedState]:
        like = updates if params is None else params
        parameters.check_gradients(updates, params)
        state = _judged(state, checks.check_value(value), factor, patience)
        # An infinite gradient would stay in Adam's moments.
        finite = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, jnp.zeros_like(g)), updates)
        of_adam, adam_state = adam.update(finite, state.adam, params)

        def step() -> tuple[PyTree, PyTree]:
            found, new = inner.update(updates, state.inner, params, value=value, **extra)
            return parameters.updates_like(found, like), new

        found, new = jax.lax.cond(state.fallen_back, lambda: (_zeros(like), state.inner), step)
        fallen_back = state.fallen_back | ~_all_finite(found)
        chosen = jax.tree.map(lambda a, b: jnp.where(fallen_back, a, b), of_adam, found)
        return chosen, state._replace(inner=new, adam=adam_state, fallen_back=fallen_back)

    return optax.GradientTransformationExtraArgs(init, update)


def _judged(state: GuardedState, loss: Array, factor: float | Array, patience: int) -> GuardedState:
    """The state after a loss: the average moves, or one more loss in a row was too high."""
    finite = jnp.isfinite(loss)
    mean, count = state.mean_loss, state.losses
    high = (count > 0) & (loss > mean + (jnp.asarray(factor, jnp.float32) - 1.0) * jnp.abs(mean))
    counts = finite & ~high
    rate = 1.0 / jnp.minimum(count + 1, _MEMORY).astype(jnp.float32)
    too_high = jnp.where(high, state.too_high + 1, 0)
    return state._replace(
        mean_loss=jnp.where(counts, mean + rate * (loss - mean), mean),
        losses=jnp.where(counts, jnp.minimum(count + 1, _MEMORY), count),
        too_high=jnp.minimum(too_high, patience),
        fallen_back=state.fallen_back | ~finite | (too_high >= patience),
    )


def _accumulated(inner: Transformation, calls: int | Array) -> Transformation:
    """A transformation that takes one step every ``calls`` calls, on the mean gradient and the mean loss."""

    def init(params: PyTree) -> AccumulatedState:
        zero = jnp.zeros((), jnp.float32)
        state = AccumulatedState(
            inner.init(params), jnp.zeros((), jnp.int32), _zeros(params, wide=True), zero
        )
        return owned(state)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, AccumulatedState]:
        like = updates if params is None else params
        parameters.check_gradients(updates, params)
        share = 1.0 / jnp.asarray(calls, jnp.float32)
        grads = jax.tree.map(
            lambda a, g: a + share.astype(a.dtype) * jnp.asarray(g, a.dtype), state.grads, updates
        )
        loss = state.loss + share * checks.check_value(value)

        def step() -> tuple[PyTree, AccumulatedState]:
            found, new = inner.update(grads, state.inner, params, value=loss, **extra)
            empty = AccumulatedState(new, jnp.zeros_like(state.calls), _zeros(grads), jnp.zeros_like(loss))
            return parameters.updates_like(found, like), empty

        def wait() -> tuple[PyTree, AccumulatedState]:
            return _zeros(like), AccumulatedState(state.inner, state.calls + 1, grads, loss)

        return jax.lax.cond(state.calls + 1 >= calls, step, wait)

    return optax.GradientTransformationExtraArgs(init, update)


def _zeros(tree: PyTree, wide: bool = False) -> PyTree:
    """Zeros in the shapes and dtypes of a tree; ``wide``: in float32 at least."""

    def zeros(x: Any) -> Array:
        dtype = jnp.result_type(x)
        return jnp.zeros_like(x, jnp.float32 if wide and jnp.finfo(dtype).bits < 32 else dtype)

    return jax.tree.map(zeros, tree)


def _all_finite(tree: PyTree) -> Array:
    found = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(found)) if found else jnp.ones((), jnp.bool_)
