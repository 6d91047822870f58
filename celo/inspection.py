"""Looking at an optimizer: the step size in force, and the rule that each parameter gets."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import names, parameters, states
from celo.baselines import HAND_DESIGNED
from celo.baselines.shampoo import Shampoo
from celo.learned import LEARNED, learned_optimizer

PyTree = Any

_FIELDS = frozenset({"count", "num_steps", "eta"})


def step_size(state: Any) -> Array:
    """The step size that a learned scheduler set last.

    Args:
        state: the state of celo, celo_adam, celo2_auto, velo or velo_s, or of any chain or wrapper around
            one, such as `optax.MultiSteps`, `optax.apply_if_finite`, `optax.masked` and
            `optax.multi_transform`; also a ``flax.nnx.Optimizer``, or flax's TrainState.

    Returns:
        () float32; (tensors,) where each tensor has its own, in the order of the tree's leaves. Before the
        first step it is 1, for VeLO 0.

    Raises:
        ValueError: if there is no step size in the state, or if there are several.

    Example:
        >>> import celo, optax
        >>> theta = celo.learned_optimizer("celo").init(jax.random.key(0))
        >>> optimizer = optax.chain(optax.clip_by_global_norm(1.0), celo.celo(1000, theta))
        >>> float(step_size(optimizer.init({"w": jnp.ones(3)})))
        1.0
    """
    found = states.find(state, _FIELDS)
    if not found:
        raise ValueError(
            "nothing in this state has a step size; expected the state of celo, celo_adam, celo2_auto, "
            "velo or velo_s, alone or in wrappers"
        )
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} step sizes are in this state, at {', '.join(path for path, _ in found)}"
        )
    return found[0][1]["eta"]


class Route(NamedTuple):
    """The rule of one parameter.

    Attributes:
        path: its keys, joined by ``/``.
        shape: its shape.
        rule: what moves it.
        reason: why.
    """

    path: str
    shape: tuple[int, ...]
    rule: str
    reason: str


class Routing(tuple[Route, ...]):
    """The rule of every parameter; printed, it is a table."""

    def __str__(self) -> str:
        rows = [("parameter", "shape", "rule", "reason"), *((r.path, str(r.shape), *r[2:]) for r in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)


def routing(name: str, params: PyTree, **config: Any) -> Routing:
    """Which rule an optimizer applies to each parameter.

    Args:
        name: a key of `celo.LEARNED` or `celo.HAND_DESIGNED`.
        params: the parameters, or their shapes (`jax.ShapeDtypeStruct`).
        **config: fields of a learned optimizer's configuration, such as ``adam_paths="wte|*/out"``.

    Returns:
        One `Route` per parameter; ``print`` shows a table.

    Raises:
        ValueError: for an unknown name, a bad value, or parameters that are no real numbers.
        TypeError: for an unknown field.

    Example:
        >>> params = {"wte": jnp.ones((9, 4)), "mlp": {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}}
        >>> print(routing("celo2", params))
        parameter  shape   rule     reason
        mlp/b      (4,)    adam     rank below 2
        mlp/w      (4, 4)  learned  hidden matrix
        wte        (9, 4)  adam     embedding
    """
    known = {**LEARNED, **HAND_DESIGNED}
    names.lookup("optimizer", name, known)
    learned = learned_optimizer(name, **config) if name in LEARNED else None
    if learned is None:
        names.check_options(name, config, ())
    parameters.check_parameters(params)
    routes = getattr(learned, "routes", None)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    found = jax.tree.structure(params).flatten_up_to(routes(params)) if routes else None
    return Routing(
        Route(
            jax.tree_util.keystr(path, simple=True, separator="/"),
            tuple(jnp.shape(p)),
            *(found[i] if found else _by_shape(name, tuple(jnp.shape(p)))),
        )
        for i, (path, p) in enumerate(leaves)
    )


def _by_shape(name: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """Rule and reason of an optimizer that looks at shapes alone."""
    if name == "muon":
        return ("muon", "rank 2") if len(shape) == 2 else ("adamw", "rank other than 2")
    if name.startswith("shampoo"):
        graft = name.removeprefix("shampoo_")
        return (
            ("shampoo", "")
            if Shampoo(graft).preconditioner(shape)
            else (graft, "scalar, or too long an axis")
        )
    return name, "all alike"
