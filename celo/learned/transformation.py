"""From an update rule to an optax transformation: the checks and casts that every learned optimizer needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import Array

from celo._core import parameters
from celo.learned import base
from celo.learned.base import PyTree

Step = Callable[[PyTree, Any, PyTree, Any], tuple[PyTree, Any]]


def transformation(
    init: optax.TransformInitFn, step: Step, reads_loss: bool = True
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation whose updates are added to the parameters, ``p <- p - step``.

    Args:
        init: ``init(params) -> state``.
        step: ``step(grads, state, params, loss) -> (steps, state)``; what it returns is subtracted from the
            parameters. ``loss`` is a () float32 array, or None if it does not read it.
        reads_loss: whether ``update`` needs the loss as ``value=``.

    Returns:
        The transformation; ``update(grads, state, params, value=loss)`` takes any further keyword. An update
        has the shape and dtype of its parameter. It raises ValueError if the parameters or the loss are
        missing, or if the gradients do not fit the parameters; ``init`` does for parameters that are not
        floating-point numbers. ``init`` and ``step`` never see a tensor without entries.
    """

    def start(params: PyTree) -> Any:
        parameters.check_parameters(params)
        return base.owned(init(parameters.without_empty(params)))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, *, value: Any = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        del extra
        params = base.check_params(params)
        parameters.check_gradients(updates, params)
        loss: Array | None = base.check_value(value) if reads_loss else None
        grads, seen = parameters.without_empty(updates), parameters.without_empty(params)
        steps, state = step(grads, state, seen, loss)
        return parameters.updates_like(jax.tree.map(lambda s: -s, steps), params), state

    return optax.GradientTransformationExtraArgs(start, update)
