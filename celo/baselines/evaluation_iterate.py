"""The parameters to evaluate, where they are not the ones being trained."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import optax

from celo._core import states

Params = TypeVar("Params")

_FIELDS = frozenset({"b1", "weight_sum", "step_count", "max_lr", "z"})


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _average(state: dict[str, Any], params: Any) -> Any:
    """Evaluation iterate of the parameters this state trains; the others as they are."""
    found: dict[str, Any] = {name: state.get(name) for name in optax.contrib.ScheduleFreeState._fields}
    z = found["z"]
    if isinstance(z, dict) and not isinstance(params, dict):  # a part of an nnx.State
        found["z"] = z = jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(z))
    trained = jax.tree.map(
        lambda z, p: z if _is_masked(z) else p.astype(z.dtype), z, params, is_leaf=_is_masked
    )
    evaluated = optax.contrib.schedule_free_eval_params(optax.contrib.ScheduleFreeState(**found), trained)
    return jax.tree.map(
        lambda x, p: p if _is_masked(x) else x.astype(p.dtype), evaluated, params, is_leaf=_is_masked
    )


def eval_params(state: Any, params: Params) -> Params:
    """The parameters to evaluate or to save.

    Schedule-free methods compute gradients at ``y = (1-b1) z + b1 x`` and are to be evaluated at the average
    ``x``; for every other optimizer these are the parameters themselves. The schedule-free state is found at
    any depth: in a chain, under `optax.MultiSteps`, `optax.inject_hyperparams` or `optax.multi_transform`.

    Args:
        state: the optimizer's state; a ``flax.nnx.Optimizer``, its ``opt_state`` or its ``nnx.State``; or
            flax's TrainState.
        params: the parameters being trained; an ``nnx.State`` of them for flax.nnx.

    Returns:
        Parameters of the same structure, shapes and dtypes.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"w": jnp.ones(3)}
        >>> eval_params(optax.adam(1e-3).init(params), params) is params
        True

    Source: Defazio et al. 2024, The Road Less Scheduled (arXiv 2405.15682), section 2.
    """
    found = states.find(state, _FIELDS)
    if not found:
        return params
    plain = states.plain(params)
    for _, node in found:
        plain = _average(node, plain)
    return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(plain))
