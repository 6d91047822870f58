"""Estimators of the meta-gradient against closed forms and each other, where SGD of a learned rate trains."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from celo.learned import LEARNED
from celo.meta.compile import jit
from celo.meta.estimators import (
    ESTIMATORS,
    PES,
    Antithetic,
    ESSingle,
    FullES,
    ScheduleES,
    TruncatedES,
    partition,
)
from celo.meta.estimators.antithetic import Worker
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.terms import Terms
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import Quadratic, stack_tasks
from tests.meta.estimators.closed_forms import (
    FAR,
    LENGTH,
    THETA,
    ZERO,
    assert_mean,
    gradients,
    inner,
    parts,
    slope_of_loss,
    tasks,
    true_gradient,
)


def test_pes_mean_is_the_gradient():
    """Over several truncations: what an early perturbation does to late losses is in it."""
    samples = gradients(PES(inner(FAR), problems=100, length=LENGTH), 4, jax.random.key(0))
    assert_mean(samples, [true_gradient(2 * k, 2 * k + 2) for k in range(4)])


@pytest.mark.slow
def test_truncated_es_mean_lacks_the_past():
    samples = gradients(TruncatedES(inner(FAR), problems=100, length=LENGTH), 4, jax.random.key(1))
    assert_mean(samples, [np.mean([slope_of_loss(2 * k + i, i) for i in range(2)]) for k in range(4)])
    error = np.std(samples[:, 3], ddof=1) / 10
    assert abs(np.mean(samples[:, 3]) - true_gradient(6, 8)) > 10 * error, "no bias to be seen"


def test_pes_where_trainings_end():
    """Six steps and a reset: the last loss counts for its own truncation alone, as upstream has it."""
    samples = gradients(PES(inner(Horizon(6, 6)), problems=100, length=LENGTH), 5, jax.random.key(2))
    ending = (slope_of_loss(4, 4) + slope_of_loss(5, 1)) / 2
    first_loss_of_the_next = 0.0
    assert_mean(
        samples,
        [true_gradient(0, 2), true_gradient(2, 4), ending, first_loss_of_the_next, true_gradient(1, 3)],
    )


@pytest.mark.slow
def test_full_es_mean_is_the_gradient():
    samples = gradients(FullES(inner(Horizon(6, 6)), problems=100, length=1), 2, jax.random.key(3))
    assert_mean(samples, [true_gradient(0, 6)] * 2)


@pytest.mark.slow
def test_full_es_over_random_horizons():
    """Each training counts up to its own end: P(T = n) is log-uniform, floored."""
    samples = gradients(FullES(inner(Horizon(2, 6)), problems=100, length=1), 2, jax.random.key(4))
    chances = [math.log((n + 1) / n) / math.log(3) for n in range(2, 6)]
    expected = sum(p * true_gradient(0, n) for p, n in zip(chances, range(2, 6), strict=True))
    assert_mean(samples, [expected] * 2)


@pytest.mark.parametrize("stage", [1, 2])
def test_pes_is_full_es_when_the_truncation_is_the_horizon(stage):
    """On equal keys, with noisy batches, and so are truncated ES and ES-Single."""
    horizon, task = 5, tasks(noise=0.5)[0]
    task = jax.tree.map(lambda x: x[0], task)
    both_parts = parts(stage)
    settings = (inner(Horizon(horizon, horizon), stage), 1, horizon, 0.1)

    def gradient(estimator, worker, vectors, key):
        _, steps, differences = estimator.unroll(both_parts, task, worker, vectors, key, ZERO)
        weights = estimator.weigh(steps, differences)
        return weights.past * vectors.past + weights.new * vectors.new

    def all_four(key):
        key_e, key_full = jax.random.split(key)
        key_begin, key_unroll = jax.random.split(key_full)
        e, nothing = 0.1 * jax.random.normal(key_e, (1,)), jnp.zeros(1)
        full, vectors = FullES(*settings), Terms(nothing, e)
        begin = full.inner.begin(full.thetas(both_parts, vectors), task, key_begin, ZERO, offset=False)
        worker = Worker(begin, nothing, None)
        found = [gradient(full, worker, vectors, key_full)]
        found += [gradient(kind(*settings), worker, vectors, key_unroll) for kind in (PES, TruncatedES)]
        return [*found, gradient(ESSingle(*settings), worker, Terms(e, nothing), key_unroll)]

    full, *others = jit(jax.vmap(all_four))(jax.random.split(jax.random.key(5), 20))
    assert np.all(full != 0)
    for found in others:
        np.testing.assert_allclose(found, full, rtol=1e-6, atol=1e-6 * np.max(np.abs(full)))


def trainable(kind, horizon, **settings):
    """An estimator and parts of meta-parameters that it can train: a scheduler's for `ScheduleES`."""
    if kind is not ScheduleES:
        return kind(inner(horizon), **settings), parts()
    learned = LEARNED["celo"]()
    theta = learned.init(jax.random.key(0))
    training = InnerTraining(learned, Augmentation("none"), horizon)
    return kind(training, **settings), partition.split(theta, learned.trainable(theta, 2))


@pytest.mark.parametrize("kind", ESTIMATORS.values(), ids=ESTIMATORS)
def test_contract(kind):
    """State keeps structure, types and shapes; equal keys give equal estimates, other keys others."""
    estimator, parts_of_theta = trainable(kind, Horizon(3, 6), problems=3, length=4)
    both = (stack_tasks([Quadratic.of([1.0, 2.0], noise=0.1), Quadratic.of([3.0, 1.0], noise=0.1)]),)
    state = jit(estimator.init)(parts_of_theta, both, jax.random.key(0))
    estimate = jit(lambda state, key: estimator.estimate(parts_of_theta, both, state, key, ZERO))
    gradient, after, report = estimate(state, jax.random.key(1))
    (summary,) = report.groups
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert gradient.shape == ravel_pytree(parts_of_theta.trained)[0].shape
    assert all(field.shape == (2, 3) for field in summary)
    assert np.all((summary.horizon >= 3) & (summary.horizon <= 6))
    np.testing.assert_array_equal(estimate(state, jax.random.key(1))[0], gradient)
    assert np.any(estimate(state, jax.random.key(2))[0] != gradient)


@functools.partial(jit, static_argnums=0)
def first_estimate(estimator, both_parts, groups):
    """What `estimate` returns right after `init`."""
    key_begin, key = jax.random.split(jax.random.key(0))
    state = estimator.init(both_parts, groups, key_begin)
    return estimator.estimate(both_parts, groups, state, key, ZERO)


class Probe(Antithetic):
    """Takes the first loss of a problem for its gradient, by way of a memory of ones."""

    def weigh(self, steps, differences):
        return Terms(steps.loss[0, 0], jnp.zeros(()), jnp.zeros(()))

    def first_memory(self, key, size):
        return jnp.ones(size)

    def remember(self, vectors, steps):
        return vectors.past


@pytest.mark.slow
def test_gradient_is_the_mean_over_families_of_all_groups():
    """Two families in one group and one in another weigh the same."""
    pair = [Quadratic.of([c, c]) for c in (1.0, 5.0)]
    groups = (stack_tasks(pair), stack_tasks([Quadratic.of([9.0] * 3)]))
    probe = Probe(inner(FAR), problems=3, length=1)
    gradient, _, report = first_estimate(probe, parts(), groups)
    losses = np.concatenate([summary.loss for summary in report.groups])
    assert losses.shape == (3, 3)
    assert len(set(losses.ravel().tolist())) == 9, "problems share their randomness"
    np.testing.assert_allclose(gradient, np.mean(losses), rtol=1e-6)


def test_normalized_gradients_of_families_count_alike():
    """Losses of families differ a thousandfold, but each gradient is along ones: of norm 1 all are equal."""
    pair = [Quadratic.of([c, c]) for c in (1.0, 1000.0)]
    groups = (stack_tasks(pair), stack_tasks([Quadratic.of([9.0] * 3)]))
    everything = partition.split(THETA, jax.tree.map(lambda _: True, THETA))
    probe = Probe(inner(FAR), problems=3, length=1, normalize=True)
    gradient, _, _ = first_estimate(probe, everything, groups)
    np.testing.assert_allclose(gradient, np.full(2, 2**-0.5), rtol=1e-6)


class Broken(Probe):
    """One entry of every gradient is not a number, the others are 1."""

    def weigh(self, steps, differences):
        return Terms(jnp.ones(()), jnp.zeros(()), jnp.zeros(()))

    def first_memory(self, key, size):
        return jnp.ones(size).at[0].set(jnp.nan)


def test_nan_becomes_zero():
    everything = jax.tree.map(lambda _: True, THETA)
    broken = Broken(inner(FAR), problems=2, length=1)
    gradient, _, _ = first_estimate(broken, partition.split(THETA, everything), tasks())
    np.testing.assert_array_equal(gradient, [0.0, 1.0])


@pytest.mark.parametrize("kind", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problems": 0}, "problems is 0; expected at least 1"),
        ({"length": 0}, "length is 0; expected at least 1"),
        ({"sigma": 0.0}, "sigma is 0.0; expected a positive number"),
        ({"sigma": math.nan}, "sigma is nan"),
        ({"sigma": math.inf}, "sigma is inf"),
        ({"objective": "last"}, "objective is 'last'; expected 'mean', 'log' or 'final'"),
        ({"resume": 1.5}, "resume is 1.5; expected a probability"),
    ],
)
def test_bad_numbers_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        trainable(kind, FAR, **settings)
