"""Every learned optimizer against the reference implementation, over the whole trajectory.

``pytest tests/celo/test_learned_parity.py -k table -s`` prints the errors reached.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import interop, learned_optimizer

NAMES = ("b1", "conv", "scalar", "w1", "w2")

Vectors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Case:
    """Reference vectors of one optimizer.

    Attributes:
        vectors: their name.
        name: ours.
        config: our configuration, as items.
        tolerance: largest absolute error of a parameter at any of the 25 steps.
        moves: False where the reference hardly moves: then the test means little on its own.
    """

    vectors: str
    name: str
    config: tuple[tuple[str, Any], ...] = ()
    tolerance: float = 1e-6
    moves: bool = True


CASES = (
    Case("random/celo_rand", "celo", tolerance=1e-5, moves=False),
    Case("released/celo", "celo", tolerance=1e-5),
    Case("released/celo_phase1", "celo", (("stage", 1),), tolerance=1e-5),
    Case("released/celo_adam", "celo_adam", tolerance=1e-5),
    Case("random/velo_s", "velo_s", moves=False),
    Case("random/velo_s_live", "velo_s"),
    Case("random/velo_s_ffmult100", "velo_s", (("ff_mult", 100.0),), tolerance=1e-3),
    Case("random/adafac_mlp", "adafac_mlp"),
    Case("random/mlp_lopt", "mlp_lopt"),
    Case("random/nnadam", "nn_adam"),
    Case("random/rnn_mlp", "rnn_mlp"),
    Case("random/celo2base", "celo2_base"),
    Case("random/celo2", "celo2", (("adam_paths", "b1|scalar"),)),
    Case("random/celo2_noregex", "celo2", (("adam_paths", ""),)),
)


@functools.cache
def trajectory(case: Case, load: Callable[[str], Vectors]) -> tuple[dict[str, np.ndarray], Any]:
    """Parameters after each step, by tensor, and the last state."""
    vectors, config = load(case.vectors), dict(case.config)
    flat = {path.removeprefix("theta/"): x for path, x in vectors.items() if path.startswith("theta/")}
    theta = interop.from_upstream(case.name, flat, **config)
    params, grads = ({n: jnp.asarray(vectors[f"{part}/{n}"]) for n in NAMES} for part in ("params", "grads"))

    @jax.jit
    def train(theta: Any, params: Any, grads: Any, losses: Any, num_steps: Any) -> Any:
        optimizer = learned_optimizer(case.name, **config).optimizer(theta, num_steps)

        def body(carry: Any, inputs: Any) -> Any:
            before, state = carry
            gradient, loss = inputs
            updates, state = optimizer.update(gradient, state, before, value=loss)
            after = optax.apply_updates(before, updates)
            return (after, state), after

        (_, state), path = jax.lax.scan(body, (params, optimizer.init(params)), (grads, losses))
        return path, state

    return jax.tree.map(np.asarray, train(theta, params, grads, vectors["loss"], vectors["num_steps"]))


def errors(case: Case, load: Callable[[str], Vectors]) -> dict[str, np.ndarray]:
    """Absolute error of each parameter after each step, by tensor."""
    path, _ = trajectory(case, load)
    return {n: np.abs(path[n] - load(case.vectors)[f"out_params/{n}"][1:]) for n in NAMES}


@pytest.mark.parametrize("tensor", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.vectors)
def test_parameters_over_the_trajectory(case: Case, tensor: str, parity: Callable[[str], Vectors]):
    assert np.max(errors(case, parity)[tensor]) <= case.tolerance
    path = parity(case.vectors)[f"out_params/{tensor}"]
    moved = np.max(np.abs(path[-1] - path[0]))
    assert not case.moves or moved > 10 * case.tolerance


def memory_of_lstms(state: Any) -> dict[str, Array]:
    return {f"lstm_hidden_state/{part}": getattr(state, part) for part in ("hidden", "cell")}


def averages_of_the_loss(state: Any) -> dict[str, Array]:
    return {"loss_buffer/means": state.means, "loss_buffer/running_min": state.minima}


def states_of_nn_adam(state: Any) -> dict[str, Array]:
    controls = {
        f"per_layer_{part}/{n}": state.controls[i, j]
        for i, n in enumerate(NAMES)
        for j, part in enumerate(("lr", "beta1", "beta2", "epsilon"))
    }
    return memory_of_lstms(state.lstm) | controls


def states_of_rnn_mlp(state: Any) -> dict[str, Array]:
    words = {f"from_mlp/{n}": state.from_mlp[i] for i, n in enumerate(NAMES)} | {"from_lstm": state.from_lstm}
    loss = {"train_loss_accum/mean": state.loss.mean, "train_loss_accum/var": state.loss.variance}
    return memory_of_lstms(state.lstm) | words | loss | {"dynamic_clip/value": state.gradient_size}


@pytest.mark.parametrize(
    ("vectors", "states"),
    [
        (
            "random/velo_s_live",
            lambda s: memory_of_lstms(s.scheduler.lstm) | averages_of_the_loss(s.scheduler.loss),
        ),
        ("random/nnadam", states_of_nn_adam),
        ("random/rnn_mlp", states_of_rnn_mlp),
    ],
    ids=["velo_s_live", "nnadam", "rnn_mlp"],
)
def test_what_is_remembered_after_the_last_step(
    vectors: str, states: Callable[[Any], dict[str, Array]], parity: Callable[[str], Vectors]
):
    (case,) = (case for case in CASES if case.vectors == vectors)
    for path, found in states(trajectory(case, parity)[1]).items():
        expected = parity(vectors)[f"state/{path}"]
        np.testing.assert_allclose(found, expected, rtol=5e-5, atol=5e-5, err_msg=path)


def test_table_of_errors(parity: Callable[[str], Vectors]):
    """Prints a row per case: the largest error of any parameter at any step, and what is tolerated."""
    for case in CASES:
        largest = max(float(np.max(e)) for e in errors(case, parity).values())
        config = " ".join(f"{field}={value}" for field, value in case.config)
        print(f"| {case.vectors} | {case.name} | {config} | {largest:.1e} | {case.tolerance:.0e} |")
        assert largest <= case.tolerance
