"""Inner problems in training, as arrays: what they are made of, and the record of their steps.

One inner problem is trained by several *members*, which differ in meta-parameters alone (for an antithetic
pair: theta + e and theta - e). A problem has many *lives*: when a training ends, another one begins in its
place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

PyTree = Any

CURRENT, FRESH, RESUMED = range(3)
"""Lives of a problem within an unroll: the one it came with, a fresh start, or a training resumed."""


class Thetas(NamedTuple):
    """Meta-parameters of the members.

    Attributes:
        trained: the part in which members differ, leaves with a leading axis of members: one entry for all
            lives, or one for each of `CURRENT`, `FRESH` and `RESUMED` (without the last if nothing resumes).
        frozen: the part they share, see `celo.meta.estimators.partition`.
    """

    trained: tuple[PyTree, ...]
    frozen: PyTree

    def at(self, life: Array) -> PyTree:
        """The trained part in a life, () int32."""
        if len(self.trained) == 1:
            return self.trained[0]
        return jax.tree.map(lambda *each: jax.lax.select_n(life, *each), *self.trained)


class Member(NamedTuple):
    """One training: parameters as the optimizer sees them, its state, and the model's state.

    ``past`` holds parameters of past steps, if gradients can be late; see `celo.meta.estimators.gradients`.
    """

    params: PyTree
    opt_state: PyTree
    model_state: PyTree
    past: PyTree = None


class Start(NamedTuple):
    """A freshly drawn inner problem: initial parameters divided by tau, model state, tau and horizon.

    ``gradient`` is how its gradients are changed, see `celo.meta.estimators.gradients`; None = they are not.
    """

    params: PyTree
    model_state: PyTree
    tau: PyTree
    horizon: Array
    gradient: Any = None


class Problem(NamedTuple):
    """An inner problem in training.

    Attributes:
        members: `Member` whose leaves have a leading axis, one entry per meta-parameters.
        tau: scales of the augmentation.
        step: () int32, steps done, plus a random offset in a problem's first life.
        horizon: () int32, steps after which it is reset; the optimizer's ``num_steps``.
        done: () bool, true if the next step resets it.
        age: () int32, steps done, without an offset.
        loss: (members,) normalised loss of the last step; 0 before the first.
        gradient: how gradients are changed, see `Start`.
    """

    members: Member
    tau: PyTree
    step: Array
    horizon: Array
    done: Array
    age: Array
    loss: Array
    gradient: Any = None


class Draws(NamedTuple):
    """What an unroll of K steps is given; the same for all members.

    Attributes:
        starts: fresh problems for resets, along a leading axis; None = a problem that is done stays as it is.
        samples: of the batches, leading axis steps; see `celo.meta.tasks.base`.
        keys: (K,) keys of the losses.
        stored: a training that resets may resume; None = all resets are fresh.
        resumes: (resets,) bool, which resets resume it.
        expert_weight: () share of the expert in each step; None = no expert.
    """

    starts: Start | None
    samples: PyTree
    keys: Array
    stored: Problem | None = None
    resumes: Array | None = None
    expert_weight: Array | None = None

    def at_reset(self, number: Array) -> tuple[Start | None, Array | None]:
        """The fresh problem of the reset of this number, () int32, and whether it resumes instead."""

        def entry(x: Array) -> Array:
            return x[jnp.minimum(number, len(x) - 1)] if len(x) > 1 else x[0]

        return jax.tree.map(entry, (self.starts, self.resumes))


class Steps(NamedTuple):
    """Record of K steps; losses and eta carry an axis of members after the step axis.

    Attributes:
        loss: (K, members) normalised loss, zero where masked.
        raw_loss: (K, members) loss as the optimizer saw it.
        mask: (K,) bool, false at the steps that reset the problem.
        done: (K,) bool, true at the last step of a training.
        eta: (K, members) step size of the optimizer's scheduler, see `celo.meta.step_size`.
        horizon: (K,) int32, horizon in force.
        life: (K,) int32, the life a step belongs to; a reset belongs to the new one.
        before: (K, members) normalised loss of the step before in the same training; 0 at its first.
        imitation: (K, members, 2) distances from the expert, see `celo.meta.estimators.expert`; None
            without one.
    """

    loss: Array
    raw_loss: Array
    mask: Array
    done: Array
    eta: Array
    horizon: Array
    life: Array
    before: Array
    imitation: Array | None = None


def fresh_problem(members: Member, start: Start) -> Problem:
    """A problem whose members, with their leading axis, are at the beginning of this start."""
    count = len(jax.tree.leaves(members)[0])
    zero = jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((count,), jnp.float32)
    done = jnp.zeros((), bool)
    return Problem(members, start.tau, zero, start.horizon, done, zero, nothing, start.gradient)


def resumed_problem(stored: Problem, steps: Array) -> Problem:
    """A stored training with a horizon ``steps`` beyond its step, which its optimizer follows too."""
    horizon = stored.step + steps
    opt_state = stored.members.opt_state
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "num_steps")
    if found:
        ahead = jnp.full_like(found[0][1], horizon)
        opt_state = optax.tree_utils.tree_set(opt_state, num_steps=ahead)
    members = stored.members._replace(opt_state=opt_state)
    return stored._replace(members=members, horizon=horizon, done=jnp.zeros((), bool))


def select(chosen: Array, yes: PyTree, no: PyTree) -> PyTree:
    """One of two trees, by a () bool."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), yes, no)
