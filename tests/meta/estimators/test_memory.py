"""What an estimator keeps over truncations: ES-Single, the final loss by telescoping, stored trainings."""

import jax
import numpy as np
import pytest

from celo.meta.estimators import PES, ESSingle, FullES
from celo.meta.estimators.horizons import Horizon
from tests.meta.estimators.closed_forms import (
    FAR,
    assert_mean,
    gradients,
    inner,
    slope_of_loss,
    true_gradient,
)

SIX = inner(Horizon(6, 6))
BOTH = pytest.mark.parametrize("kind", [PES, ESSingle])


def test_es_single_mean_is_the_gradient_also_where_trainings_end():
    """Six steps and a reset: the next training has another perturbation, from its first step on."""
    samples = gradients(ESSingle(SIX, problems=100, length=2), 5, jax.random.key(0))
    assert_mean(samples, [true_gradient(2 * k, 2 * k + 2) for k in range(3)] + [0.0, true_gradient(1, 3)])


def test_the_variance_of_es_single_stays_and_that_of_pes_grows():
    """Forty truncations of a training at rest: the noise of its batches keeps the loss sensitive."""
    late = {}
    for kind in (PES, ESSingle):
        samples = gradients(kind(inner(FAR), problems=100, length=2), 40, jax.random.key(1), 1.0)
        variance = np.var(samples, axis=0)
        late[kind] = np.mean(variance[30:]) / np.mean(variance[10:20])
    # A sum of k perturbations has k times the variance of one: from about 15 to about 35.
    assert 1.8 < late[PES] < 3.0
    assert 0.7 < late[ESSingle] < 1.4


@BOTH
def test_gains_of_truncations_sum_to_the_final_loss(kind):
    """Each truncation contributes the gradient of what the loss changes in it, without a bias."""
    samples = gradients(kind(SIX, problems=100, length=2, objective="final"), 4, jax.random.key(2))
    last = [slope_of_loss(t, t) for t in (1, 3, 5)]
    assert_mean(samples, [*np.diff([0.0, *last]), 0.0])
    assert_mean(np.sum(samples[:, :3], axis=1), slope_of_loss(5, 5))


def test_full_es_of_the_loss_after_the_last_step():
    estimator = FullES(SIX, problems=100, objective="final", final_batches=2)
    assert_mean(gradients(estimator, 1, jax.random.key(3)), [slope_of_loss(6, 6)])


# The training of six steps ends with the third truncation. Before that its age was 4, where a resumed one
# starts.
RESUMED_TRAINING = [true_gradient(4, 5), true_gradient(5, 7), true_gradient(7, 9)]


@BOTH
def test_resumed_trainings_keep_their_past(kind):
    """The estimate is the gradient of the loss at the ages resumed, as if nothing had been stored."""
    samples = gradients(kind(SIX, problems=100, length=2, resume=1.0), 6, jax.random.key(4))
    assert_mean(samples, [true_gradient(2 * k, 2 * k + 2) for k in range(3)] + RESUMED_TRAINING)


def test_full_es_resumes_nothing():
    with pytest.raises(ValueError, match=r"resume is 0.5; FullES starts fresh problems"):
        FullES(SIX, resume=0.5)
