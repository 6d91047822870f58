"""Backpropagation through whole trainings against closed forms, where SGD of a learned rate trains."""

import dataclasses

import jax
import numpy as np
import pytest

from celo.meta.compile import jit
from celo.meta.estimators import Backprop
from celo.meta.estimators.expert import Expert
from celo.meta.estimators.horizons import Horizon
from celo.meta.tasks import Quadratic, stack_tasks
from tests.meta.estimators.closed_forms import (
    CURVATURE,
    FAR,
    RATE,
    ZERO,
    inner,
    parts,
    slope_of_loss,
    tasks,
    true_gradient,
)


def estimate(estimator, families, key=0):
    """The gradient, a number, and the summary of the problems of one estimate."""

    def first(key):
        state = estimator.init(parts(), families, key)
        gradient, _, report = estimator.estimate(parts(), families, state, key, ZERO)
        return gradient[0], report.groups[0]

    return jit(first)(jax.random.key(key))


def expected_loss(steps):
    """Mean expected loss over the steps of a training."""
    return np.mean([CURVATURE / 2 * (1 - RATE * CURVATURE) ** (2 * t) for t in range(steps)])


@pytest.mark.parametrize(("low", "high", "length"), [(6, 6, 6), (6, 6, 4), (6, 6, 1), (2, 12, 3), (5, 5, 50)])
def test_the_gradient_is_exact_for_each_problem(low, high, length):
    """Loss and gradient have the same random factor, so their ratio is known, whatever the pieces."""
    gradient, summary = estimate(Backprop(inner(Horizon(low, high)), problems=4, length=length), tasks())
    horizon = int(summary.horizon[0, 0])
    assert np.all(summary.horizon == horizon), "problems have different horizons"
    ratio = true_gradient(0, horizon) / expected_loss(horizon)
    np.testing.assert_allclose(gradient, ratio * np.mean(summary.loss), rtol=1e-5)


def test_horizons_differ_between_estimates():
    estimator = Backprop(inner(Horizon(2, 12)), problems=2, length=3)
    assert len({int(estimate(estimator, tasks(), key)[1].horizon[0, 0]) for key in range(8)}) > 2


def test_objective_final_is_the_loss_after_the_last_step():
    estimator = Backprop(inner(Horizon(6, 6)), problems=4, length=4, objective="final")
    gradient, summary = estimate(estimator, tasks())
    scale = np.mean(summary.loss) / expected_loss(6)
    np.testing.assert_allclose(gradient, slope_of_loss(6, 6) * scale, rtol=1e-5)


def test_objective_log_does_not_depend_on_the_size_of_the_loss():
    """``log L_t = constant + 2 t log(1 - a c)``, whatever the initial parameters."""
    large = (stack_tasks([Quadratic.of([CURVATURE], noise=0.0)]),)
    gradient, summary = estimate(Backprop(inner(Horizon(6, 6)), problems=1, length=4, objective="log"), large)
    assert summary.loss > 0.1, "losses below the floor do not count"
    slope = -RATE * CURVATURE / (1 - RATE * CURVATURE)
    np.testing.assert_allclose(gradient, np.mean([2 * t * slope for t in range(6)]), rtol=1e-5)


def test_normalized_gradients_of_problems_count_alike():
    """With a curvature that makes the rate too large, the gradient points the other way."""
    good, bad = Quadratic.of([CURVATURE]), Quadratic.of([1.9 / RATE])
    estimator = Backprop(inner(Horizon(6, 6)), problems=3, length=4, normalize=True)
    np.testing.assert_allclose(estimate(estimator, (stack_tasks([good]),))[0], -1.0, rtol=1e-6)
    np.testing.assert_allclose(estimate(estimator, (stack_tasks([good, bad]),))[0], 0.0, atol=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_gradient_that_is_not_finite_counts_as_zero(normalize):
    good, diverging = Quadratic.of([CURVATURE]), Quadratic.of([1e30])
    estimator = Backprop(inner(Horizon(6, 6)), problems=3, length=4, normalize=normalize)
    alone, _ = estimate(estimator, (stack_tasks([good]),))
    both, summary = estimate(estimator, (stack_tasks([good, diverging]),))
    np.testing.assert_array_equal(summary.diverged[1], 1.0)
    np.testing.assert_allclose(both, alone / 2, rtol=1e-6)


def test_it_neither_resumes_nor_imitates():
    with pytest.raises(ValueError, match=r"resume is 0\.5; Backprop starts fresh problems"):
        Backprop(inner(FAR), resume=0.5)
    imitating = dataclasses.replace(inner(FAR), expert=Expert("adam", iterations=10))
    with pytest.raises(ValueError, match="no expert to imitate"):
        Backprop(imitating)
