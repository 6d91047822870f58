"""Closed forms of meta-gradients, where SGD of a learned rate trains a quadratic; shared by tests.

With curvature c, rate a = exp(l) and x_0 ~ N(0, 1) the expected loss at step t is ``c/2 (1 - a c)^(2t)``, so
the gradient with respect to l, and the part of it that one truncation's l contributes, are known.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.compile import jit
from celo.meta.estimators import EstimatorState, partition
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import Quadratic, stack_tasks
from tests.meta.learnable_sgd import LearnableSGD

RATE, CURVATURE, LENGTH = 0.2, 0.7, 2
THETA = {
    "rule": {"log_rate": jnp.log(jnp.float32(RATE))},
    "scheduler": {"slope": jnp.zeros((), jnp.float32)},
}
FAR = Horizon(1_000_000, 1_000_000)  # no training ends
ZERO = jnp.zeros((), jnp.int32)


def inner(horizon, stage=1):
    return InnerTraining(LearnableSGD(stage), Augmentation("none"), horizon)


def parts(stage=1):
    return partition.split(THETA, LearnableSGD().trainable(THETA, stage))


def tasks(noise=0.0):
    return (stack_tasks([Quadratic.of([CURVATURE], noise=noise)]),)


def started(estimator, key, noise):
    """A state whose problems all begin at step 0, without the offset that keeps them apart."""
    (worker,) = estimator.init(parts(), tasks(noise), key).workers
    aligned = worker.problem._replace(step=jnp.zeros_like(worker.problem.step))
    return EstimatorState((worker._replace(problem=aligned),))


@functools.partial(jit, static_argnums=(0, 1, 3))
def gradients(estimator, estimates, key, noise=0.0):
    """Meta-gradients of successive estimates from fresh problems, (100, estimates): rows are independent."""

    def one(key):
        key_begin, key_run = jax.random.split(key)

        def body(state, key):
            gradient, state, _ = estimator.estimate(parts(), tasks(noise), state, key, ZERO)
            return state, gradient[0]

        return jax.lax.scan(body, started(estimator, key_begin, noise), jax.random.split(key_run, estimates))[
            1
        ]

    return jax.vmap(one)(jax.random.split(key, 100))


def assert_mean(samples, expected, errors=3.0):
    """The mean over rows is within some standard errors of what is expected."""
    samples = np.asarray(samples)
    error = np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples))
    np.testing.assert_array_less(np.abs(np.mean(samples, axis=0) - expected), errors * error + 1e-6)


def slope_of_loss(t, steps):
    """Derivative of the expected loss at step t with respect to the l of ``steps`` of the steps before."""
    shrink = 1 - RATE * CURVATURE
    return CURVATURE / 2 * shrink ** (2 * t) * 2 * steps * (-RATE * CURVATURE / shrink)


def true_gradient(first, last):
    """Gradient of the mean expected loss over the steps first .. last - 1."""
    return np.mean([slope_of_loss(t, t) for t in range(first, last)])
