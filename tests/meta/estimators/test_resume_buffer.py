"""The buffer: what is stored and when, and how a reset resumes it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.estimators import resume_buffer
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import RESUMED, Draws, Start, Steps, Thetas, resumed_problem
from tests.meta.estimators.closed_forms import ZERO, inner, parts, tasks

TASK = jax.tree.map(lambda x: x[0], tasks()[0])
INNER = inner(Horizon(6, 6))


def thetas():
    trained, frozen = parts()
    return Thetas((jax.tree.map(lambda x: jnp.stack([x, x]), trained),), frozen)


@pytest.fixture(scope="module")
def problem():
    return INNER.begin(thetas(), TASK, jax.random.key(0), ZERO, offset=False)


def steps_of(losses, before, done=None):
    """Steps of both members with these losses, the first after a step of loss ``before``."""
    loss = jnp.stack([jnp.asarray(losses, jnp.float32)] * 2, axis=1)
    last = jnp.concatenate([jnp.full((1, 2), before, jnp.float32), loss[:-1]])
    number = jnp.zeros(len(losses), jnp.int32)
    ended = jnp.asarray(done if done is not None else [False] * len(losses))
    return Steps(loss, loss, jnp.ones(len(losses), bool), ended, loss, number, number, last)


@pytest.mark.parametrize(
    ("age", "losses", "before", "done", "stored"),
    [
        (4, [3.0, 2.0, 1.0], 4.0, None, False),
        (4, [3.0, 5.0, 1.0], 4.0, None, True),  # it rose by 2
        (0, [3.0, 2.0, 1.0], 0.0, None, False),  # the first step of a training is no rise
        (4, [3.0, 2.0, 1.0], 4.0, [False, False, True], True),  # it ended
    ],
)
def test_the_state_before_is_stored_if_the_training_got_stuck_or_ended(
    problem, age, losses, before, done, stored
):
    old = problem._replace(age=jnp.int32(age))
    memory = jnp.ones(1)
    empty = resume_buffer.empty(problem._replace(step=jnp.int32(77)), 0 * memory)
    after = resume_buffer.push(empty, old, memory, steps_of(losses, before, done))
    assert bool(after.filled) == stored
    assert after.memory == (1.0 if stored else 0.0)
    assert after.problem.step == (old.step if stored else 77)


def test_a_rise_counts_once():
    """The largest rise so far has to be exceeded; it is the mean over the members."""
    problem = INNER.begin(thetas(), TASK, jax.random.key(0), ZERO, offset=False)._replace(age=jnp.int32(9))
    buffer = resume_buffer.empty(problem, None)
    stored = []
    for losses, before in (([3.0, 5.0], 4.0), ([4.0, 5.0], 5.0), ([5.0, 7.0], 5.0)):
        buffer = buffer._replace(filled=jnp.zeros((), bool))
        buffer = resume_buffer.push(buffer, problem, None, steps_of(losses, before))
        stored.append(bool(buffer.filled))
    assert stored == [True, False, True]
    assert buffer.peak == 4.0


def test_a_finished_training_is_not_stored(problem):
    done = problem._replace(done=jnp.ones((), bool))
    steps = steps_of([0.0, 1.0, 2.0], 1.0, [False, False, True])
    assert not resume_buffer.push(resume_buffer.empty(done, None), done, None, steps).filled


def test_a_reset_resumes_the_stored_training_with_a_longer_horizon(problem):
    stored = problem._replace(step=jnp.int32(4), tau={"x": jnp.float32(3.0)}, done=jnp.ones((), bool))
    stored = stored._replace(members=stored.members._replace(params={"x": jnp.full((2, 1), 0.25)}))
    running = problem._replace(done=jnp.ones((), bool))
    params = {"x": jnp.ones(1)}
    draw = Draws(Start(params, (), {"x": jnp.ones(())}, jnp.int32(6)), jnp.zeros(1), jax.random.key(1))
    draw = draw._replace(stored=stored, resumes=jnp.ones((), bool))
    after, steps = INNER.step(thetas(), TASK, running, ZERO, draw)
    assert (int(after.step), int(after.horizon), bool(after.done)) == (4, 10, False)
    np.testing.assert_array_equal(after.members.params["x"], stored.members.params["x"])
    np.testing.assert_array_equal(after.members.opt_state.num_steps, [10.0, 10.0])
    assert (int(steps.life), bool(steps.mask)) == (RESUMED, False)
    fresh, steps = INNER.step(thetas(), TASK, running, ZERO, draw._replace(resumes=jnp.zeros((), bool)))
    assert (int(fresh.step), int(fresh.horizon)) == (0, 6)
    np.testing.assert_array_equal(fresh.members.params["x"], np.ones((2, 1)))


def test_nothing_is_resumed_from_an_empty_buffer(problem):
    starts = Start({}, (), {}, jnp.zeros(50, jnp.int32))
    draws = Draws(starts, None, jax.random.split(jax.random.key(0), 1))
    empty = resume_buffer.empty(problem, None)
    full = empty._replace(filled=jnp.ones((), bool))

    def share(buffer, probability):
        resumes: Any = buffer.offer(draws, jax.random.key(0), probability).resumes
        return float(jnp.mean(resumes))

    assert share(empty, 1.0) == 0
    assert share(full, 1.0) == 1
    assert 0.6 < share(full, 0.8) < 0.95


def test_an_optimizer_without_a_horizon_resumes(problem):
    members = problem.members._replace(opt_state=())
    assert resumed_problem(problem._replace(members=members), jnp.int32(3)).members.opt_state == ()
