"""Truncated inner training under several meta-parameters at once, with resets, as one scan.

Every gradient estimator uses it. One inner problem is trained for K steps by each of its *members*, which
share everything random: batches, keys, initial parameters, tau, horizon and the steps at which the problem is
reset.

Throughout, ``thetas`` are the meta-parameters of the members, ``iteration`` is the meta-iteration, () int32,
which a curriculum of horizons follows, and ``task`` is as in `celo.meta.tasks.base`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo.learned.base import LearnedOptimizer
from celo.meta.estimators import augmentation, partition
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.expert import Expert
from celo.meta.estimators.gradients import GradientAugmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import (
    CURRENT,
    FRESH,
    RESUMED,
    Draws,
    Member,
    Problem,
    Start,
    Steps,
    Thetas,
    fresh_problem,
    resumed_problem,
    select,
)
from celo.meta.step_size import step_size

PyTree = Any

_GRADIENT = 1 << 16  # beyond the keys that splitting gives


@dataclasses.dataclass(frozen=True)
class InnerTraining:
    """How inner problems are drawn and trained: the learned optimizer, the augmentation and the horizons.

    With an ``expert``, steps are mixed with its own, see `celo.meta.estimators.expert`. With ``gradients``,
    those of a problem are changed by chance, see `celo.meta.estimators.gradients`.
    """

    learned: LearnedOptimizer
    augmentation: Augmentation
    horizon: Horizon
    expert: Expert | None = None
    gradients: GradientAugmentation | None = None

    def start(self, task: Any, key: Array, iteration: Array) -> Start:
        """Draws an inner problem."""
        key_init, key_tau, key_horizon = jax.random.split(key, 3)
        params, model_state = task.init(key_init)
        tau = self.augmentation.sample(key_tau, params)
        horizon = self.horizon.sample(key_horizon, iteration)
        params = augmentation.unscale(tau, params)
        if self.gradients is None:
            return Start(params, model_state, tau, horizon)
        gradient = self.gradients.draw(jax.random.fold_in(key, _GRADIENT))
        return Start(self.gradients.store(params, gradient), model_state, tau, horizon, gradient)

    def member(self, theta: PyTree, start: Start) -> Member:
        """A training that begins at a fresh problem."""
        optimizer = self.learned.optimizer(theta, start.horizon)
        past = None if self.gradients is None else self.gradients.first_past(start.params)
        return Member(start.params, optimizer.init(start.params), start.model_state, past)

    def begin(self, thetas: Thetas, task: Any, key: Array, iteration: Array, offset: bool) -> Problem:
        """A problem before its first step.

        With ``offset`` the step counter starts at a random point of [0, longest horizon), so that problems
        that start together do not end together; the optimizer's own count still starts at 0.
        """
        key_start, key_offset = jax.random.split(key)
        start = self.start(task, key_start, iteration)
        step = jnp.zeros((), jnp.int32)
        if offset:
            step = jax.random.randint(key_offset, (), 0, self.horizon.high, jnp.int32)
        trained = thetas.trained[0]
        members = jax.vmap(lambda part: self.member(partition.merge(part, thetas.frozen), start))(trained)
        return fresh_problem(members, start)._replace(step=step)

    def draw(self, task: Any, key: Array, length: int, iteration: Array) -> Draws:
        """Draws everything random in ``length`` steps."""
        key_start, key_batch, key_loss = jax.random.split(key, 3)
        starts = self.starts(task, key_start, length, iteration)
        # Row numbers and keys of all steps are drawn at once: random bits cost mostly their number of calls.
        samples = jax.vmap(lambda k: task.sample(k, "train"))(jax.random.split(key_batch, length))
        weight = None if self.expert is None else self.expert.weight(iteration)
        keys = jax.random.split(key_loss, length)
        return Draws(starts, samples, keys, expert_weight=weight)

    def starts(self, task: Any, key: Array, length: int, iteration: Array) -> Start:
        """Fresh inner problems for all resets that ``length`` steps can hold, along a leading axis.

        The shortest horizon bounds how often a problem ends in K steps.
        """
        resets = -(-length // (self.horizon.low + 1))
        return jax.vmap(lambda k: self.start(task, k, iteration))(jax.random.split(key, resets))

    def unroll(self, thetas: Thetas, task: Any, problem: Problem, draws: Draws) -> tuple[Problem, Steps]:
        """Train a problem for the steps drawn, and reset it where it is done; returns it and the steps.

        A step at which the problem is done resets it instead of training and is masked out.
        """

        def body(carry: tuple, drawn: tuple) -> tuple[tuple, Steps]:
            problem, life, used = carry
            start, resumes = draws.at_reset(used)
            sample, key = drawn
            draw = draws._replace(starts=start, samples=sample, keys=key, resumes=resumes)
            problem, steps = self.step(thetas, task, problem, life, draw)
            return (problem, steps.life, used + (~steps.mask).astype(jnp.int32)), steps

        zero = jnp.zeros((), jnp.int32)
        carry = (problem, jnp.full_like(zero, CURRENT), zero)
        (problem, _, _), steps = jax.lax.scan(body, carry, (draws.samples, draws.keys))
        return problem, steps

    def step(
        self, thetas: Thetas, task: Any, problem: Problem, life: Array, draw: Draws
    ) -> tuple[Problem, Steps]:
        """One step of all members: train, or begin another training if the problem is done.

        ``draw`` is one entry of each field of `Draws`; ``life`` is the life before the step.
        """
        reset, start = problem.done, draw.starts
        if start is not None:
            new_life = FRESH if draw.resumes is None else jnp.where(draw.resumes, RESUMED, FRESH)
            life = jnp.where(reset, new_life, life)
        batch = task.gather("train", draw.samples)

        def both(part: PyTree, member: Member) -> tuple:
            theta = partition.merge(part, thetas.frozen)
            running = problem._replace(members=member)
            stepped = self.train_step(theta, task, running, draw, batch)
            return *stepped, None if start is None else self.member(theta, start)

        stepped, loss, eta, imitation, fresh = jax.vmap(both)(thetas.at(life), problem.members)
        normalised = jnp.where(reset, 0.0, task.normalizer(loss))
        trained = problem._replace(
            members=stepped, step=problem.step + 1, age=problem.age + 1, loss=normalised
        )
        after = select(reset, self._replacement(problem, fresh, draw), trained)
        ended = ~reset & (after.step >= after.horizon)
        record = Steps(normalised, loss, ~reset, ended, eta, after.horizon, life, problem.loss, imitation)
        return after._replace(done=ended if start is not None else ended | reset), record

    def _replacement(self, problem: Problem, fresh: Member | None, draw: Draws) -> Problem:
        """The problem that takes the place of one that is done."""
        if draw.starts is None or fresh is None:
            return problem
        new = fresh_problem(fresh, draw.starts)
        if draw.stored is None or draw.resumes is None:
            return new
        return select(draw.resumes, resumed_problem(draw.stored, draw.starts.horizon), new)

    def train_step(self, theta: PyTree, task: Any, problem: Problem, draw: Draws, batch: PyTree) -> tuple:
        """One step of one member, ``problem.members``: its next state, raw loss, eta and imitation."""
        member, past = problem.members, None

        def evaluate(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
            def objective(params: PyTree) -> tuple[Array, PyTree]:
                scaled = augmentation.scale(problem.tau, params)
                loss, model_state, _ = task.loss(scaled, member.model_state, draw.keys, batch)
                return loss, model_state

            (loss, model_state), grads = jax.value_and_grad(objective, has_aux=True)(params)
            return loss, model_state, grads

        change = evaluate
        if self.gradients is not None:
            examples = getattr(task, "examples_first", True)
            rest = (problem.gradient, draw.keys, member.past, problem.age, examples)
            change = self.gradients.change(evaluate, *rest)
            past = self.gradients.next_past(member.past, member.params, problem.age)
        loss, model_state, grads = change(member.params, batch)
        optimizer = self.learned.optimizer(theta, problem.horizon)
        updates, opt_state = optimizer.update(grads, member.opt_state, member.params, value=loss)
        imitation = None
        if self.expert is not None and draw.expert_weight is not None:
            updates, imitation = self.expert.mix(updates, opt_state, problem.age, draw.expert_weight)
        params = optax.apply_updates(member.params, updates)
        if self.gradients is not None:
            params = self.gradients.store(params, problem.gradient)
        return Member(params, opt_state, model_state, past), loss, step_size(opt_state), imitation

    def final_loss(self, task: Any, problem: Problem, key: Array, batches: int) -> Array:
        """(members,) mean normalised loss of the parameters on fresh batches, which the members share."""
        key_batch, key_loss = jax.random.split(key)
        samples = jax.vmap(lambda k: task.sample(k, "train"))(jax.random.split(key_batch, batches))

        def of_member(member: Member) -> Array:
            scaled = augmentation.scale(problem.tau, member.params)

            def of_batch(drawn: tuple) -> Array:
                sample, key = drawn
                loss, _, _ = task.loss(scaled, member.model_state, key, task.gather("train", sample))
                return task.normalizer(loss)

            return jnp.mean(jax.lax.map(of_batch, (samples, jax.random.split(key_loss, batches))))

        return jax.vmap(of_member)(problem.members)
