"""Evolution strategies over a schedule against the exact gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from celo._core.scheduler import SharedScheduler
from celo.learned import LEARNED
from celo.learned.celo import scheduled
from celo.meta.compile import jit
from celo.meta.estimators import Backprop, ScheduleES, partition
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.expert import Expert
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.schedule_es import KNOTS, hats
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import Quadratic
from tests.meta.estimators.closed_forms import ZERO
from tests.meta.learnable_sgd import LearnableSGD


class ScheduledSGD(LearnableSGD):
    """SGD whose rate Celo's scheduler sets."""

    scheduler = SharedScheduler()

    def optimizer(self, theta, num_steps):
        def rule(p, g, statistics):
            return g, statistics

        return scheduled(rule, self.scheduler, theta["scheduler"], jnp.asarray(num_steps))


LEARNED_SGD = ScheduledSGD()
INNER = InnerTraining(LEARNED_SGD, Augmentation("none"), Horizon(12, 12))


def test_hats_interpolate():
    np.testing.assert_allclose(hats(jnp.asarray(KNOTS)), np.eye(len(KNOTS)), atol=1e-6)
    np.testing.assert_allclose(jnp.sum(hats(jnp.linspace(0, 1.2, 50)), axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(hats(jnp.float32(0.7)), [0, 0, 0, 0, 0, 0.5, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("objective", ["mean", "log", "final"])
def test_the_mean_is_the_exact_gradient(objective):
    """Problem by problem, as both estimators start equal problems from equal keys.

    A change of the head's bias is in the span of the hats: its derivative is right within the error of the
    mean. Other changes are projected: their direction is right nearly.
    """
    theta = {"rule": jnp.zeros(()), "scheduler": LEARNED_SGD.scheduler.init(jax.random.key(0))}
    both = partition.split(theta, jax.tree.map(lambda _: True, theta) | {"rule": False})
    _, unravel = ravel_pytree(both.trained)
    task = Quadratic.of([0.5, 1.0, 2.0])
    kinds = (
        ScheduleES(INNER, length=3, sigma=0.05, objective=objective),
        Backprop(INNER, length=3, objective=objective),
    )

    def gradients(key):
        return tuple(kind.gradient(both, task, key, ZERO, jnp.int32(12))[0] for kind in kinds)

    estimated, exact = jit(jax.vmap(gradients))(jax.random.split(jax.random.key(1), 2000))
    means = np.mean(estimated, axis=0), np.mean(exact, axis=0)
    bias = [jax.vmap(lambda g: unravel(g)["scheduler"]["step_size"]["b"][0])(g) for g in (estimated, exact)]
    error = np.std(bias[0] - bias[1]) / np.sqrt(len(exact))
    assert abs(np.mean(bias[0] - bias[1])) < 3 * error
    assert abs(np.mean(bias[1])) > 10 * error, "the error hides the gradient"
    cosine = np.dot(*means) / (np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    assert cosine > 0.95


@pytest.mark.parametrize("name", ["celo", "celo_adam", "celo2_auto"])
def test_it_trains_the_optimizers_that_its_error_names(name):
    learned = LEARNED[name]()
    ScheduleES(dataclasses.replace(INNER, learned=learned))
    assert "scheduler" in jax.eval_shape(learned.init, jax.random.key(0))


@pytest.mark.parametrize(
    ("inner", "settings", "message"),
    [
        (INNER, {"resume": 0.5}, r"resume is 0\.5; ScheduleES starts fresh problems"),
        (dataclasses.replace(INNER, expert=Expert("adam", iterations=10)), {}, "no expert to imitate"),
        (
            dataclasses.replace(INNER, learned=LEARNED["celo"](stage=1)),
            {},
            "needs a scheduler of one step size",
        ),
        (dataclasses.replace(INNER, learned=LEARNED["celo"](form="linear")), {}, "needs a scheduler"),
        (dataclasses.replace(INNER, learned=LEARNED["nn_adam"]()), {}, "needs a scheduler"),
    ],
)
def test_what_it_cannot_train_is_refused(inner, settings, message):
    with pytest.raises(ValueError, match=message):
        ScheduleES(inner, **settings)
