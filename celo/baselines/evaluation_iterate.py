"""The parameters to evaluate, where they are not the ones being trained."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import optax

Params = TypeVar("Params")


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, optax.contrib.ScheduleFreeState)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _average(state: optax.contrib.ScheduleFreeState, params: Params) -> Params:
    """Evaluation iterate of the parameters this state trains; the others as they are."""
    trained = jax.tree.map(
        lambda z, p: z if _is_masked(z) else p.astype(z.dtype), state.z, params, is_leaf=_is_masked
    )
    evaluated = optax.contrib.schedule_free_eval_params(state, trained)
    return jax.tree.map(
        lambda x, p: p if _is_masked(x) else x.astype(p.dtype), evaluated, params, is_leaf=_is_masked
    )


def eval_params(state: optax.OptState, params: Params) -> Params:
    """The parameters to evaluate or to save.

    Schedule-free methods compute gradients at ``y = (1-b1) z + b1 x`` and ask to be judged at the average
    ``x``; for every other optimizer these are the parameters themselves. The schedule-free state is found at
    any depth: in a chain, under `optax.MultiSteps`, `optax.inject_hyperparams` or `optax.multi_transform`.

    Args:
        state: the optimizer's state.
        params: the parameters being trained.

    Returns:
        Parameters of the same structure, shapes and dtypes.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"w": jnp.ones(3)}
        >>> eval_params(optax.adam(1e-3).init(params), params) is params
        True

    Source: Defazio et al. 2024, The Road Less Scheduled (arXiv 2405.15682), section 2.
    """
    for node in jax.tree.leaves(state, is_leaf=_is_schedule_free):
        if _is_schedule_free(node):
            params = _average(node, params)
    return params
