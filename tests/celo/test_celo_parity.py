"""Celo against the reference implementation: the whole trajectory, and every quantity on the way."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import interop, learned_optimizer
from celo._core import features, mlp, scheduler

NAMES = ("b1", "conv", "scalar", "w1", "w2")
STAGES = {"random/celo_rand": 2, "released/celo": 2, "released/celo_phase1": 1}

PARAMETERS = 1e-5  # absolute; the reference, compiled and not, differs from itself by 1.4e-6
# The reference takes 1 - 0.999 in float32, 1.3e-5 away from 0.001: its slow averages are off by as much.
STATISTICS = 5e-5  # relative
SCHEDULE = 1e-5  # relative and absolute

Vectors = dict[str, np.ndarray]


class Trajectory(NamedTuple):
    """Parameters before and after each of 25 steps, and the state after it, stacked."""

    before: Any
    after: Any
    states: Any


class Case(NamedTuple):
    """Reference vectors, the stage they are of, and our trajectory with their meta-parameters."""

    vectors: Vectors
    stage: int
    theta: Any
    ours: Trajectory


@functools.partial(jax.jit, static_argnames="stage")
def train(theta: Any, params: Any, grads: Any, losses: Array, num_steps: Array, stage: int) -> Trajectory:
    optimizer = learned_optimizer("celo", stage=stage).optimizer(theta, num_steps)

    def body(carry: Any, inputs: Any) -> tuple[Any, Trajectory]:
        before, state = carry
        gradient, loss = inputs
        updates, state = optimizer.update(gradient, state, before, value=loss)
        after = optax.apply_updates(before, updates)
        return (after, state), Trajectory(before, after, state)

    return jax.lax.scan(body, (params, optimizer.init(params)), (grads, losses))[1]


@jax.jit
def update_rule(theta: Any, before: Any, grads: Any, statistics: Any) -> dict[str, Any]:
    """Features and outputs of the update rule at every step of a trajectory, by tensor."""

    def one_step(p: Array, g: Array, momenta: Any, v: Array, rows: Any, cols: Any) -> dict[str, Array]:
        inputs = features.celo_features(jnp.clip(g, -1000.0, 1000.0), p, momenta, v, rows, cols)
        scales = normalisers.inverse_rms(inputs)
        raw = jnp.stack([jnp.broadcast_to(x, p.shape) for x in inputs], axis=-1)
        direction, magnitude, _ = mlp.apply(theta, inputs, scales)
        normalised = raw * scales.reshape((1,) * p.ndim + (-1,))
        return {"raw": raw, "norm": normalised, "direction": direction, "magnitude": magnitude}

    m, v, rows, cols = statistics
    return {
        n: jax.vmap(one_step)(
            before[n], grads[n], [x[n] for x in m], v[n], [x[n] for x in rows], [x[n] for x in cols]
        )
        for n in NAMES
    }


@pytest.fixture(scope="module")
def cases(parity: Callable[[str], Vectors]) -> Callable[[str], Case]:
    @functools.cache
    def case(name: str) -> Case:
        vectors, stage = parity(name), STAGES[name]
        flat = {path.removeprefix("theta/"): x for path, x in vectors.items() if path.startswith("theta/")}
        theta = interop.from_upstream("celo", flat)
        params, grads = ({n: jnp.asarray(vectors[f"{x}/{n}"]) for n in NAMES} for x in ("params", "grads"))
        ours = train(theta, params, grads, vectors["loss"], vectors["num_steps"], stage=stage)
        return Case(vectors, stage, theta, jax.tree.map(np.asarray, ours))

    return case


@pytest.fixture(params=STAGES)
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@pytest.fixture(params=[name for name, stage in STAGES.items() if stage == 2])
def scheduled(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


def rule(case: Case, tensor: str) -> dict[str, Any]:
    grads = {n: case.vectors[f"grads/{n}"] for n in NAMES}
    return update_rule(case.theta["mlp"], case.ours.before, grads, case.ours.states.statistics)[tensor]


@pytest.mark.parametrize("tensor", NAMES)
def test_parameters_over_the_trajectory(case: Case, tensor: str):
    expected = case.vectors[f"out_params/{tensor}"]
    np.testing.assert_array_equal(case.ours.before[tensor][0], expected[0])
    moved = np.max(np.abs(expected[-1] - expected[0]))
    tolerance = min(PARAMETERS, 1e-3 * moved)  # random meta-parameters move little
    np.testing.assert_allclose(case.ours.after[tensor], expected[1:], rtol=0, atol=tolerance)


@pytest.mark.parametrize("tensor", NAMES)
def test_features(case: Case, tensor: str):
    at, ours = case.vectors["celo/feature_steps"], rule(case, tensor)
    for kind, tiny in (("raw", 1e-12), ("norm", 1e-6)):
        expected = case.vectors[f"celo/features_{kind}/{tensor}"]
        np.testing.assert_allclose(ours[kind][at], expected, rtol=STATISTICS, atol=tiny)


@pytest.mark.parametrize("tensor", NAMES)
@pytest.mark.parametrize("output", ["direction", "magnitude"])
def test_outputs_of_the_update_rule(case: Case, tensor: str, output: str):
    expected = case.vectors[f"celo/{output}/{tensor}"]
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(rule(case, tensor)[output], expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("tensor", NAMES)
def test_running_averages_at_the_end(case: Case, tensor: str):
    ours = jax.tree.map(lambda x: x[-1], case.ours.states.statistics)

    def stacked(trees: Any) -> np.ndarray:
        return np.stack([tree[tensor] for tree in trees], axis=-1)

    found = {"mom_rolling/m": stacked(ours.momenta), "rms_rolling/rms": stacked([ours.v])}
    if ours.v[tensor].ndim < 2:
        found["fac_rolling/v_diag"] = stacked(ours.rows)
    else:
        found |= {"fac_rolling/v_row": stacked(ours.rows), "fac_rolling/v_col": stacked(ours.cols)}
    for path, array in found.items():
        expected = case.vectors[f"state/{path}/{tensor}"]
        np.testing.assert_allclose(array, expected, rtol=STATISTICS, atol=1e-12, err_msg=path)


def test_step_size(scheduled: Case):
    expected = scheduled.vectors["celo/lr_mult"]
    assert np.all(expected == expected[:, :1]), "all tensors share one step size"
    np.testing.assert_allclose(scheduled.ours.states.eta, expected[:, 0], rtol=SCHEDULE)


def test_stage_1_has_no_step_size(cases: Callable[[str], Case]):
    states = cases("released/celo_phase1").ours.states
    assert states.scheduler is None
    np.testing.assert_array_equal(states.eta, np.ones(25))


@pytest.mark.parametrize("part", ["hidden", "cell"])
def test_lstm(scheduled: Case, part: str):
    ours = getattr(scheduled.ours.states.scheduler.lstm, part)
    for tensor in range(len(NAMES)):
        expected = scheduled.vectors[f"celo/lstm_{part}"][:, tensor]
        np.testing.assert_allclose(ours, expected, rtol=SCHEDULE, atol=SCHEDULE)
        final = scheduled.vectors[f"state/lstm_hidden_state/{part}"][tensor]
        np.testing.assert_allclose(ours[-1], final, rtol=SCHEDULE, atol=SCHEDULE)


def test_inputs_of_the_scheduler(scheduled: Case):
    states, vectors = scheduled.ours.states, scheduled.vectors
    inputs = jax.vmap(scheduler.shared_inputs)(states.scheduler.loss, states.count - 1, states.num_steps)
    progress, loss = np.split(np.asarray(inputs), 2, axis=1)
    np.testing.assert_allclose(progress, vectors["celo/progress_features"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(loss, vectors["celo/loss_features"], rtol=0, atol=SCHEDULE)
    np.testing.assert_allclose(inputs, vectors["celo/rnn_input"], rtol=0, atol=SCHEDULE)
    assert np.any(np.abs(vectors["celo/loss_features"]) < 0.99), "clipped features would test nothing"


def test_averages_of_the_loss(scheduled: Case):
    loss, vectors = scheduled.ours.states.scheduler.loss, scheduled.vectors
    np.testing.assert_allclose(loss.means, vectors["celo/loss_means"], rtol=SCHEDULE)
    np.testing.assert_allclose(loss.minima, vectors["celo/loss_running_min"], rtol=SCHEDULE)
    np.testing.assert_allclose(loss.decays[-1], vectors["state/loss_buffer/decays"], rtol=1e-6)
    assert loss.count[-1] == vectors["state/loss_buffer/iteration"] == vectors["state/iteration"]
