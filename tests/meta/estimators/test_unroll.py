"""Inner training: what members of a pair share, when problems are drawn anew, what divergence leaves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.learned.celo import Celo
from celo.meta.compile import jit
from celo.meta.estimators import partition
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import Thetas
from celo.meta.estimators.summary import summarise
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import Quadratic
from celo.meta.tasks.base import pytree, static
from tests.meta.learnable_sgd import LearnableSGD

ZERO = jnp.zeros((), jnp.int32)
PROBLEMS = 12


@pytree
class Lottery:
    """Its loss is pure chance, of the batch, the key of the loss and the start of the training."""

    prize: jax.Array
    noise: float = static(default=1.0)

    def init(self, key):
        return {"x": jax.random.normal(key, (2,))}, jax.random.uniform(key)

    def sample(self, key, split):
        return jax.random.uniform(key)

    def gather(self, split, sample):
        return {"luck": sample}

    def loss(self, params, model_state, key, batch):
        chance = self.noise * (batch["luck"] + 10 * jax.random.uniform(key)) + 100 * model_state
        return chance + self.prize * jnp.sum(params["x"]), model_state, {}

    def normalizer(self, loss):
        return jnp.clip(jnp.where(jnp.isnan(loss), 200.0, loss), 0.0, 200.0)


def pair_of(theta, e):
    """Everything trained, theta + e and theta - e; and nothing frozen."""
    pair = jax.tree.map(lambda x: jnp.stack([x + e, x - e]), theta)
    return Thetas((pair,), jax.tree.map(lambda _: None, theta))


@functools.partial(jit, static_argnums=(0, 1, 2))
def unrolled(inner, length, offset, task, thetas):
    """Some problems started and unrolled: the problems before and after, and their steps."""

    def one(key):
        key_begin, key_run = jax.random.split(key)
        problem = inner.begin(thetas, task, key_begin, ZERO, offset)
        return problem, *inner.unroll(thetas, task, problem, inner.draw(task, key_run, length, ZERO))

    return jax.vmap(one)(jax.random.split(jax.random.key(0), PROBLEMS))


def sgd(horizon, level="global"):
    return InnerTraining(LearnableSGD(), Augmentation(level), horizon)


def test_members_share_all_that_is_random():
    """Batches, keys, starts and resets: losses of pure chance are the same for theta + e and theta - e."""
    task = Lottery(jnp.zeros(()))
    pair = pair_of(LearnableSGD().init(jax.random.key(0)), 0.5)
    started, ended, steps = unrolled(sgd(Horizon(2, 5)), 12, True, task, pair)
    np.testing.assert_array_equal(steps.raw_loss[..., 0], steps.raw_loss[..., 1])
    assert len(set(steps.raw_loss[..., 0].ravel().tolist())) == PROBLEMS * 12, "some randomness is shared"
    for problem in (started, ended):
        # Their gradient is zero, so parameters stay as drawn; tau, step and horizon have no axis of members.
        params = problem.members.params["x"]
        np.testing.assert_array_equal(params[:, 0], params[:, 1])
        assert problem.tau["x"].shape == problem.step.shape == problem.horizon.shape == (PROBLEMS,)


@pytest.mark.parametrize("learned", [LearnableSGD(), Celo()], ids=["sgd", "celo"])
def test_equal_members_do_the_same(learned):
    """With e = 0 every delta is exactly zero, and with e it is not."""
    task = Quadratic.of([0.5, 2.0], noise=0.3, target=1.0)
    inner = InnerTraining(learned, Augmentation("global", 0.5, 2.0), Horizon(3, 6))
    theta = learned.init(jax.random.key(1))
    _, _, steps = unrolled(inner, 8, True, task, pair_of(theta, 0.0))
    np.testing.assert_array_equal(steps.loss[..., 0], steps.loss[..., 1])
    _, _, steps = unrolled(inner, 8, True, task, pair_of(theta, 0.1))
    assert np.mean(steps.loss[..., 0] != steps.loss[..., 1]) > 0.3
    fresh = ~steps.mask[:, :-1]
    assert fresh.any()
    first = steps.loss[:, 1:][fresh]
    np.testing.assert_array_equal(first[:, 0], first[:, 1], "the first loss of a training precedes any step")


@pytest.mark.parametrize(("shortest", "length"), [(1, 7), (2, 9), (3, 9)])
def test_resets(shortest, length):
    """A problem that comes in done is drawn anew as often as possible, each time with another start."""
    inner, task = sgd(Horizon(shortest, shortest)), Lottery(jnp.zeros(()), noise=0.0)
    pair = pair_of(LearnableSGD().init(jax.random.key(0)), 0.1)

    def one(key):
        key_begin, key_run = jax.random.split(key)
        problem = inner.begin(pair, task, key_begin, ZERO, offset=True)
        problem = problem._replace(done=jnp.ones((), bool))
        return inner.unroll(pair, task, problem, inner.draw(task, key_run, length, ZERO))[1]

    steps = jax.device_get(jit(jax.vmap(one))(jax.random.split(jax.random.key(0), PROBLEMS)))
    expected = np.arange(length) % (shortest + 1) > 0
    np.testing.assert_array_equal(steps.mask, np.broadcast_to(expected, (PROBLEMS, length)))
    training = np.arange(length) // (shortest + 1)
    lotteries = [
        set(steps.raw_loss[i, expected & (training == n)].ravel().tolist())
        for i in range(PROBLEMS)
        for n in set(training[expected])
    ]
    assert all(len(values) == 1 for values in lotteries), "the start changed within a training"
    assert len(set.union(*lotteries)) == len(lotteries), "a start was used twice"


@pytest.mark.slow
def test_offset_spreads_the_first_ends():
    """Steps begin anywhere in [0, longest horizon), the optimizer's count at 0."""
    pair = pair_of(LearnableSGD().init(jax.random.key(0)), 0.1)
    horizon = Horizon(5, 1000)
    started, ended, steps = unrolled(sgd(horizon), 3, True, Quadratic.of([1.0]), pair)
    assert np.all((started.step >= 0) & (started.step < 1000))
    assert np.ptp(started.step) > 300
    np.testing.assert_array_equal(started.members.opt_state.count, np.zeros((PROBLEMS, 2)))
    # One that begins beyond its horizon trains one step and is done.
    beyond = np.asarray(started.step >= started.horizon)
    assert beyond.any()
    np.testing.assert_array_equal(steps.done[beyond, 0], np.ones(beyond.sum(), bool))
    np.testing.assert_array_equal(steps.mask[:, 1], ~steps.done[:, 0])
    np.testing.assert_array_equal(ended.members.opt_state.count[beyond], np.full((beyond.sum(), 2), 1))
    aligned, _, _ = unrolled(sgd(horizon), 3, False, Quadratic.of([1.0]), pair)
    np.testing.assert_array_equal(aligned.step, np.zeros(PROBLEMS))


def test_hand_computed_training():
    """Four steps of noiseless SGD from the drawn start, seen through tau."""
    curvature = np.array([0.5, 2.0])
    task = Quadratic.of(curvature)
    theta = LearnableSGD().init(jax.random.key(2))
    inner = sgd(Horizon(40, 40), "tensor")
    started, _, steps = unrolled(inner, 4, False, task, pair_of(theta, 0.2))
    for problem in range(PROBLEMS):
        for member, e in enumerate((0.2, -0.2)):
            tau = np.float64(started.tau["x"][problem])
            p = np.float64(started.members.params["x"][problem, member])
            for t in range(4):
                x = tau * p
                expected = 0.5 * np.sum(curvature * x**2)
                np.testing.assert_allclose(steps.raw_loss[problem, t, member], expected, rtol=2e-4)
                eta = np.exp((theta["scheduler"]["slope"] + e) * t / 40)
                np.testing.assert_allclose(steps.eta[problem, t, member], eta, rtol=1e-5)
                p = p - np.exp(theta["rule"]["log_rate"] + e) * eta * tau * curvature * x


@pytest.mark.parametrize("prize", [np.nan, np.inf])
def test_divergence_is_bounded_and_counted(prize):
    """Raw losses that are not finite become the ceiling for both members; the training ends as any other."""
    task = Lottery(jnp.float32(prize))
    pair = pair_of(LearnableSGD().init(jax.random.key(0)), 0.1)
    _, problem, steps = unrolled(sgd(Horizon(3, 3)), 9, True, task, pair)
    assert np.all(np.isfinite(steps.loss))
    raw = np.asarray(steps.raw_loss)[np.asarray(steps.mask)]
    assert not np.isfinite(raw).any()
    summary = jax.vmap(summarise)(steps)
    np.testing.assert_array_equal(summary.diverged, np.ones(PROBLEMS))
    assert np.all((summary.loss >= 0) & (summary.loss <= 200))
    assert np.all(np.sum(~steps.mask, axis=1) >= 2)
    fresh = problem.members.opt_state.count[:, 0] == 0
    assert np.all(np.isfinite(problem.members.params["x"][fresh])), "a fresh start must not inherit NaN"


def test_summary_counts_unmasked_steps_alone():
    steps = unrolled(
        sgd(Horizon(2, 2)),
        5,
        False,
        Lottery(jnp.zeros(())),
        pair_of(LearnableSGD().init(jax.random.key(0)), 0.3),
    )[2]
    summary = jax.vmap(summarise)(steps)
    mask = np.asarray(steps.mask)
    for i in range(PROBLEMS):
        np.testing.assert_allclose(summary.loss[i], np.mean(np.asarray(steps.loss[i])[mask[i]]), rtol=1e-6)
    np.testing.assert_array_equal(summary.diverged, np.zeros(PROBLEMS))
    np.testing.assert_allclose(summary.eta_low, np.min(steps.eta, axis=(1, 2)))
    np.testing.assert_allclose(summary.eta_high, np.max(steps.eta, axis=(1, 2)))
    np.testing.assert_array_equal(summary.horizon, np.full(PROBLEMS, 2))


def test_partition_splits_and_merges():
    theta = {"a": jnp.ones(2), "b": {"c": jnp.zeros(3)}}
    trained, frozen = partition.split(theta, {"a": True, "b": {"c": False}})
    assert trained == {"a": theta["a"], "b": {"c": None}}
    assert frozen["a"] is None
    merged = partition.merge(trained, frozen)
    assert merged["a"] is theta["a"]
    assert merged["b"]["c"] is theta["b"]["c"]
    with pytest.raises(ValueError, match="no leaf of theta is trainable"):
        partition.split(theta, {"a": False, "b": {"c": False}})
