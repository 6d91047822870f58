"""Meta-gradient, outer optimizer and resets against vectors of the reference implementation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from celo.interop import from_upstream
from celo.learned.celo import Celo
from celo.meta.data.catalog import SPLITS
from celo.meta.data.images import ImageData, ImageSplit
from celo.meta.estimators import PES, partition
from celo.meta.estimators.augmentation import Augmentation, unscale
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import Draws, Start, Steps, Thetas, fresh_problem
from celo.meta.estimators.summary import summarise
from celo.meta.estimators.terms import Terms, mean_differences
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.stage import Stage
from celo.meta.tasks import ImageMLP, Quadratic
from tests.meta.learnable_sgd import LearnableSGD

ZERO = jnp.zeros((), jnp.int32)
INNER = InnerTraining(LearnableSGD(), Augmentation("none"), Horizon(100, 100))


def below(arrays, prefix):
    """The arrays under a prefix, by the rest of their path."""
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def ravel_each(trees):
    """The raveled entries of arrays that share a leading axis."""
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(trees)


def steps_of(positive, negative, mask, done):
    """`Steps` of many problems: arrays (problems, K)."""
    loss = jnp.stack([positive, negative], axis=-1)
    ones, number = jnp.ones_like(loss), jnp.ones(mask.shape, jnp.int32)
    return Steps(loss, loss, mask, done, ones, number, number, ones)


def test_pes_gradient_and_accumulators(parity):
    """Eight problems: resets in the middle, on the last step, twice, and none."""
    arrays = parity("random/pesgrad")
    steps = steps_of(*(arrays[name].T for name in ("pos_loss", "neg_loss", "mask", "is_done")))
    pes = PES(INNER, problems=8, length=50, sigma=arrays["std"].item())
    e, xi = (ravel_each(below(arrays, f"{name}/")) for name in ("perturb", "accum_in"))
    vectors = Terms(xi, e)
    weights = jax.vmap(pes.weigh)(steps, jax.vmap(mean_differences)(steps))
    accumulators = jax.vmap(pes.remember)(vectors, steps)
    expected = ravel_pytree(below(arrays, "grad/"))[0]
    gradient = pes._mean([jax.tree.map(lambda x: x[None], (weights, vectors))])
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.max(np.abs(expected)))
    np.testing.assert_allclose(accumulators, ravel_each(below(arrays, "accum_out/")), rtol=1e-6, atol=1e-8)


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_outer_adamw(parity):
    """Twelve steps of AdamW on a raveled theta."""
    arrays = parity("random/outer_adamw")
    optimizer = Stage(learning_rate=arrays["lr"].item()).adamw()
    theta, grads = below(arrays, "out/"), below(arrays, "grads/")
    flat, unravel = ravel_pytree({name: x[0] for name, x in theta.items()})
    state = optimizer.init(flat)
    for t in range(12):
        gradient = ravel_pytree({name: x[t] for name, x in grads.items()})[0]
        updates, state = optimizer.update(gradient, state, flat)
        flat = flat + jnp.asarray(updates)
        for name, x in unravel(flat).items():
            np.testing.assert_allclose(x, theta[name][t + 1], atol=1e-7)


def test_truncation_trace(parity):
    """Sixty steps of eight problems: which train, which are drawn anew, what is masked, how far each is.

    The reference draws a horizon when a training ends, ours when the next begins; in force they are the same.
    """
    trace = parity("random/trunc_trace")
    task, theta = Quadratic.of([1.0]), LearnableSGD().init(jax.random.key(0))
    trained, frozen = partition.split(theta, jax.tree.map(lambda _: True, theta))
    pair = Thetas((jax.tree.map(lambda x: jnp.stack([x, x]), trained),), frozen)
    params = {"x": jnp.ones(1)}

    def start(horizon, log_tau):
        return Start(params, (), {"x": jnp.exp(log_tau)}, horizon)

    def one(first_step, first_horizon, first_tau, horizons, taus):
        fresh = start(first_horizon, first_tau)
        members = jax.vmap(lambda part: INNER.member(partition.merge(part, frozen), fresh))(pair.trained[0])
        problem = fresh_problem(members, fresh)._replace(step=first_step)

        def body(problem, drawn):
            horizon, log_tau, key = drawn
            draw = Draws(start(horizon, log_tau), jnp.zeros(1), key)
            problem, steps = INNER.step(pair, task, problem, ZERO, draw)
            return problem, (problem, steps)

        return jax.lax.scan(body, problem, (horizons, taus, jax.random.split(jax.random.key(0), 60)))[1]

    first = [trace[name][0] for name in ("inner_step_in", "opt_num_steps_in", "log_scale_in")]
    problem, steps = jax.jit(jax.vmap(one))(*first, trace["opt_num_steps_out"].T, trace["log_scale_out"].T)
    expected = {name: trace[name].T for name in trace}
    np.testing.assert_array_equal(problem.step, expected["iteration"])
    np.testing.assert_array_equal(problem.done, expected["is_done"])
    np.testing.assert_array_equal(steps.done, expected["is_done"])
    np.testing.assert_array_equal(steps.mask, expected["mask"])
    np.testing.assert_array_equal(steps.horizon, expected["opt_num_steps_out"])
    np.testing.assert_array_equal(problem.horizon, expected["opt_num_steps_out"])
    np.testing.assert_allclose(jnp.log(problem.tau["x"]), expected["log_scale_out"], atol=1e-6)
    for member in range(2):
        state = jax.tree.map(lambda x, i=member: x[:, :, i], problem.members.opt_state)
        np.testing.assert_array_equal(state.count, expected["opt_iter_out"])
        np.testing.assert_array_equal(state.num_steps, expected["opt_num_steps_out"])
    assert np.all(steps.loss[~expected["mask"]] == 0)
    assert np.all(steps.loss[expected["mask"]] > 0)


def end_to_end_task(images, labels):
    """A perceptron whose row number ``64 t + i`` is example i of step t."""
    split = ImageSplit(images.reshape(-1, 8, 8, 1), labels.reshape(-1))
    return ImageMLP.of(ImageData("recorded", dict.fromkeys(SPLITS, split), 10, 255), hidden=(32,))


@pytest.fixture(scope="module")
def end_to_end(parity):
    """A truncation of two problems under theta + e, theta - e and theta: `Steps`, last problems, vectors."""
    arrays = parity("released/pes_e2e")
    upstream = below(parity("released/celo"), "theta/")
    learned = Celo()
    convert = functools.partial(from_upstream, "celo")
    theta = convert(upstream)
    trained, frozen = partition.split(theta, jax.tree.map(lambda _: True, theta))
    inner = dataclasses.replace(INNER, learned=learned)
    flat, unravel = ravel_pytree(trained)
    rows = jnp.arange(20 * 64).reshape(20, 64)

    def unroll(task, params, tau, horizon, e):
        members = jax.vmap(unravel)(jnp.stack([flat + e, flat - e, flat]))
        fresh = Start(params, (), tau, horizon)
        started = jax.vmap(lambda part: inner.member(partition.merge(part, frozen), fresh))(members)

        def body(problem, sample):
            draw = Draws(fresh, sample, jax.random.key(0))
            return inner.step(Thetas((members,), frozen), task, problem, ZERO, draw)

        return jax.lax.scan(body, fresh_problem(started, fresh), rows)

    unroll, steps, problems, e, xi = jax.jit(unroll), [], [], [], []
    for i in range(2):
        named = below(arrays, f"init_params/{i}/mlp/~/")
        params = {f"linear_{n}": {k: jnp.asarray(named[f"linear_{n}|{k}"]) for k in "wb"} for n in (0, 1)}
        e.append(ravel_pytree(convert({k: x[i] for k, x in below(arrays, "perturb/").items()}))[0])
        xi.append(ravel_pytree(convert({k: x[i] for k, x in below(arrays, "accum_in/").items()}))[0])
        task = end_to_end_task(arrays["images_u8"][:, i], arrays["labels"][:, i])
        tau = jax.tree.map(lambda _, i=i: jnp.asarray(arrays["scale"][i]), params)
        begin = unscale(tau, params)
        problem, step = unroll(task, begin, tau, arrays["num_steps"][i], e[i])
        problems.append(problem)
        steps.append(step)
    return jax.tree.map(lambda *x: jnp.stack(x), *steps), problems, jnp.stack(e), jnp.stack(xi), arrays


def test_end_to_end_losses(end_to_end):
    steps, _, _, _, arrays = end_to_end
    assert np.all(steps.mask)
    for i, name in enumerate(("pos", "neg", "center")):
        np.testing.assert_allclose(steps.raw_loss[..., i].T, arrays[f"raw_loss/{name}"], atol=5e-6)
        np.testing.assert_allclose(steps.loss[..., i].T, arrays[f"norm_loss/{name}"], atol=5e-6)


def test_end_to_end_parameters(end_to_end):
    _, problems, _, _, arrays = end_to_end
    for i, problem in enumerate(problems):
        for name, expected in below(arrays, f"final_params_center/{i}/mlp/~/").items():
            layer, part = name.split("|")
            found = problem.members.params[layer][part][2]
            np.testing.assert_allclose(found, expected, rtol=5e-6, atol=5e-6)


def test_end_to_end_gradient(end_to_end):
    """The vectors say at which steps the pairs count as done and as masked; nothing was drawn anew there."""
    steps, _, e, xi, arrays = end_to_end
    mask, done = arrays["mask"].T, arrays["is_done"].T
    steps = steps_of(steps.loss[..., 0], steps.loss[..., 1], mask, done)
    pes = PES(INNER, problems=2, length=20, sigma=arrays["std"].item())
    weights = jax.vmap(pes.weigh)(steps, jax.vmap(mean_differences)(steps))
    gradient = pes._mean([jax.tree.map(lambda x: x[None], (weights, Terms(xi, e)))])
    expected = ravel_pytree(from_upstream("celo", below(arrays, "grad/")))[0]
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(gradient, expected, rtol=5e-6, atol=5e-6 * largest)
    meta_loss = jnp.mean(jax.vmap(summarise)(steps).loss)
    np.testing.assert_allclose(meta_loss, arrays["mean_loss"], atol=5e-6)
