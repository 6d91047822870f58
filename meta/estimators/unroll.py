"""Truncated inner training under several meta-parameters at once, with resets, as one scan.

Every gradient estimator uses it. One inner problem is trained for K steps by each *member* (for an antithetic
pair: theta + e and theta - e). Members share everything random: batches, keys, initial parameters, tau,
horizon and the steps at which the problem is reset.

Throughout, ``trained`` is the part of theta in which members differ, with a leading axis of members, and
``frozen`` the part they share (see `celo.meta.estimators.partition`); ``iteration`` is the meta-iteration, ()
int32, which a curriculum of horizons follows; ``task`` is as in `celo.meta.tasks.base`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo.learned.base import LearnedOptimizer
from celo.meta.estimators import augmentation, partition
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.step_size import step_size

PyTree = Any


class Member(NamedTuple):
    """One training: parameters as the optimizer sees them, its state, and the model's state."""

    params: PyTree
    opt_state: PyTree
    model_state: PyTree


class Start(NamedTuple):
    """A freshly drawn inner problem: initial parameters divided by tau, model state, tau and horizon."""

    params: PyTree
    model_state: PyTree
    tau: PyTree
    horizon: Array


class Problem(NamedTuple):
    """An inner problem in training.

    Attributes:
        members: `Member` whose leaves have a leading axis, one entry per meta-parameters.
        tau: scales of the augmentation.
        step: () int32, steps done, plus a random offset in a problem's first life.
        horizon: () int32, steps after which it is reset; the optimizer's ``num_steps``.
        done: () bool, true if the next step resets it.
    """

    members: Member
    tau: PyTree
    step: Array
    horizon: Array
    done: Array


class Steps(NamedTuple):
    """Record of K steps; losses and eta carry an axis of members after the step axis.

    Attributes:
        loss: (K, members) normalised loss, zero where masked.
        raw_loss: (K, members) loss as the optimizer saw it.
        mask: (K,) bool, false at the steps that reset the problem.
        done: (K,) bool, true at the last step of a training.
        eta: (K, members) step size of the optimizer's scheduler, see `celo.meta.step_size`.
        horizon: (K,) int32, horizon in force.
    """

    loss: Array
    raw_loss: Array
    mask: Array
    done: Array
    eta: Array
    horizon: Array


@dataclasses.dataclass(frozen=True)
class InnerTraining:
    """How inner problems are drawn and trained: the learned optimizer, the augmentation and the horizons."""

    learned: LearnedOptimizer
    augmentation: Augmentation
    horizon: Horizon

    def start(self, task: Any, key: Array, iteration: Array) -> Start:
        """Draws an inner problem."""
        key_init, key_tau, key_horizon = jax.random.split(key, 3)
        params, model_state = task.init(key_init)
        tau = self.augmentation.sample(key_tau, params)
        horizon = self.horizon.sample(key_horizon, iteration)
        return Start(augmentation.unscale(tau, params), model_state, tau, horizon)

    def member(self, theta: PyTree, start: Start) -> Member:
        """A training that begins at a fresh problem."""
        optimizer = self.learned.optimizer(theta, start.horizon)
        return Member(start.params, optimizer.init(start.params), start.model_state)

    def begin(
        self, trained: PyTree, frozen: PyTree, task: Any, key: Array, iteration: Array, offset: bool
    ) -> Problem:
        """A problem before its first step.

        With ``offset`` the step counter starts at a random point of [0, longest horizon), so that problems
        that start together do not end together; the optimizer's own count still starts at 0.
        """
        key_start, key_offset = jax.random.split(key)
        start = self.start(task, key_start, iteration)
        step = jnp.zeros((), jnp.int32)
        if offset:
            step = jax.random.randint(key_offset, (), 0, self.horizon.high, jnp.int32)
        members = jax.vmap(lambda part: self.member(partition.merge(part, frozen), start))(trained)
        return Problem(members, start.tau, step, start.horizon, jnp.zeros((), bool))

    def train_step(self, theta: PyTree, task: Any, problem: Problem, key: Array, batch: PyTree) -> tuple:
        """One step of one member, ``problem.members``: its next state, raw loss and eta."""
        member = problem.members

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            scaled = augmentation.scale(problem.tau, params)
            loss, model_state, _ = task.loss(scaled, member.model_state, key, batch)
            return loss, model_state

        (loss, model_state), grads = jax.value_and_grad(objective, has_aux=True)(member.params)
        optimizer = self.learned.optimizer(theta, problem.horizon)
        updates, opt_state = optimizer.update(grads, member.opt_state, member.params, value=loss)
        params = optax.apply_updates(member.params, updates)
        return Member(params, opt_state, model_state), loss, step_size(opt_state)

    def unroll(
        self,
        trained: PyTree,
        frozen: PyTree,
        task: Any,
        problem: Problem,
        key: Array,
        length: int,
        iteration: Array,
    ) -> tuple[Problem, Steps]:
        """Train a problem for ``length`` steps, and reset it where it is done; returns it and the steps.

        A step at which the problem is done resets it instead of training and is masked out.
        """
        key_start, key_batch, key_loss = jax.random.split(key, 3)
        starts = self.starts(task, key_start, length, iteration)
        # Row numbers and keys of all steps are drawn at once: random bits cost mostly their number of calls.
        samples = jax.vmap(lambda k: task.sample(k, "train"))(jax.random.split(key_batch, length))
        keys = jax.random.split(key_loss, length)
        return self.unroll_samples(trained, frozen, task, problem, starts, samples, keys)

    def starts(self, task: Any, key: Array, length: int, iteration: Array) -> Start:
        """Fresh inner problems for all resets that ``length`` steps can hold, along a leading axis.

        The shortest horizon bounds how often a problem ends in K steps.
        """
        resets = -(-length // (self.horizon.low + 1))
        return jax.vmap(lambda k: self.start(task, k, iteration))(jax.random.split(key, resets))

    def unroll_samples(
        self,
        trained: PyTree,
        frozen: PyTree,
        task: Any,
        problem: Problem,
        starts: Start,
        samples: PyTree,
        keys: Array,
    ) -> tuple[Problem, Steps]:
        """`unroll` with everything random given: `starts` for resets, a sample and a key for each step."""
        resets = starts.horizon.shape[0]

        def body(carry: tuple[Problem, Array], drawn: tuple) -> tuple[tuple[Problem, Array], Steps]:
            problem, used = carry
            start = jax.tree.map(lambda x: x[jnp.minimum(used, resets - 1)] if resets > 1 else x[0], starts)
            problem, steps = self._step(trained, frozen, task, problem, start, *drawn)
            return (problem, used + (~steps.mask).astype(jnp.int32)), steps

        carry = (problem, jnp.zeros((), jnp.int32))
        (problem, _), steps = jax.lax.scan(body, carry, (samples, keys))
        return problem, steps

    def _step(
        self,
        trained: PyTree,
        frozen: PyTree,
        task: Any,
        problem: Problem,
        start: Start,
        sample: PyTree,
        key: Array,
    ) -> tuple[Problem, Steps]:
        """One step of all members: train, or take the fresh start if the problem is done."""
        batch = task.gather("train", sample)

        def both(part: PyTree, member: Member) -> tuple:
            theta = partition.merge(part, frozen)
            stepped = self.train_step(theta, task, problem._replace(members=member), key, batch)
            return *stepped, self.member(theta, start)

        stepped, loss, eta, fresh = jax.vmap(both)(trained, problem.members)
        reset, step = problem.done, problem.step + 1
        members, tau, horizon, step = jax.tree.map(
            lambda new, old: jnp.where(reset, new, old),
            (fresh, start.tau, start.horizon, jnp.zeros((), jnp.int32)),
            (stepped, problem.tau, problem.horizon, step),
        )
        done = ~reset & (step >= horizon)
        normalised = jnp.where(reset, 0.0, task.normalizer(loss))
        return Problem(members, tau, step, horizon, done), Steps(normalised, loss, ~reset, done, eta, horizon)
