"""Influence balancing (Vicol et al. 2021, Tallec and Ollivier 2017): short-term gain points the wrong way.

The state of a linear system, ``s <- A s + theta (1, ..., 1, -1, ..., -1)``, is what is "trained"; the loss is
``(s_1 - 1)^2 / 2``. Its first p = 10 entries are pushed by +theta, the other 13 by -theta. A push of entry i
reaches s_1 after i steps, so s_1 first rises with theta and settles at ``s_1 = -6 theta``.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo.meta.compile import jit
from celo.meta.estimators import PES, ESSingle, TruncatedES
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import stack_tasks
from celo.meta.tasks.base import pytree

SIZE, POSITIVE = 23, 10
SIGNS = jnp.where(jnp.arange(SIZE) < POSITIVE, 1.0, -1.0)
DYNAMICS = 0.5 * (jnp.eye(SIZE) + jnp.eye(SIZE, k=1))
START = 0.5


@pytree
class FirstEntry:
    """The loss of a state; there are no data."""

    start: jax.Array

    def init(self, key):
        return {"s": self.start}, ()

    def sample(self, key, split):
        return jnp.zeros(())

    def gather(self, split, sample):
        return {}

    def loss(self, params, model_state, key, batch):
        return 0.5 * jnp.square(params["s"][0] - 1.0), model_state, {}

    def normalizer(self, loss):
        return loss


@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """Moves the parameters by the dynamics, whatever the gradient."""

    def init(self, key):
        return {"theta": jnp.float32(START)}

    def trainable(self, theta, stage):
        return {"theta": True}

    def optimizer(self, theta, num_steps):
        def update(updates, state, params: Any = None, **extra):
            s = params["s"]
            return {"s": DYNAMICS @ s + theta["theta"] * SIGNS - s}, state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)


def settled_loss(theta):
    """The loss of the state that the system settles at."""
    return 0.5 * (-6.0 * theta - 1.0) ** 2


@functools.partial(jit, static_argnums=0)
def descend(kind):
    """Meta-training by plain gradient descent: theta at every meta-iteration."""
    inner = InnerTraining(LinearSystem(), Augmentation("none"), Horizon(200, 200))
    estimator = kind(inner, problems=200, length=5, sigma=0.1)
    groups = (stack_tasks([FirstEntry(jnp.ones(SIZE))]),)
    first = inner.learned.init(jax.random.key(0))

    def body(carry, drawn):
        trained, state = carry
        iteration, key = drawn
        parts = Parts(trained, {"theta": None})
        gradient, state, _ = estimator.estimate(parts, groups, state, key, iteration)
        trained = {"theta": trained["theta"] - 1e-3 * gradient[0]}
        return (trained, state), trained["theta"]

    state = estimator.init(Parts(first, {"theta": None}), groups, jax.random.key(0))
    drawn = (jnp.arange(400), jax.random.split(jax.random.key(1), 400))
    return jax.lax.scan(body, (first, state), drawn)[1]


def test_pes_and_es_single_descend_where_truncated_es_climbs():
    pes, single, truncated = descend(PES), descend(ESSingle), descend(TruncatedES)
    assert settled_loss(pes[-1]) < 0.1 * settled_loss(START)
    assert settled_loss(single[-1]) < 0.1 * settled_loss(START)
    assert settled_loss(truncated[-1]) > 10 * settled_loss(START)
