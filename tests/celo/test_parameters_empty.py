"""Parameters without entries change nothing for the others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo import HAND_DESIGNED, eval_params, hand_designed
from tests.celo.parameter_builds import LOSS, PARAMS, Build, Tree, learned, shapes

EMPTY = {"nothing": jnp.zeros((0, 3)), "none": jnp.zeros(0)}
EMPTY_ROWS: dict[str, Build] = {
    **{name: functools.partial(hand_designed, name, 0.1) for name in HAND_DESIGNED},
    **{name: functools.partial(learned, name) for name in ("celo", "velo_s", "nn_adam", "rnn_mlp", "celo2")},
    "celo_tensors": functools.partial(learned, "celo", tensor_features=True),
}
COSTLY = ("rnn_mlp", "celo_tensors", "shampoo_adagrad", "celo2")


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=[pytest.mark.slow] if name in COSTLY else [])
        for name, build in EMPTY_ROWS.items()
    ],
)
def test_tensors_without_entries_change_nothing(build: Build):
    optimizer = build()
    params = {"w": PARAMS["layer"]["w"]}
    with_empty = {**params, **EMPTY}

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def step(params: Tree) -> Tree:
        updates, state = optimizer.update(params, optimizer.init(params), params, value=LOSS)
        return updates, state, eval_params(state, params)

    (expected, expected_state, _), (updates, state, evaluated) = step(params), step(with_empty)
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5, atol=1e-8)
    assert shapes(updates) == shapes(evaluated) == shapes(with_empty)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected_state))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))
