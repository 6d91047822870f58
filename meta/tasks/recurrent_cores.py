"""Recurrent layers of language models: how their parameters are drawn and how they run over a sequence.

Every layer starts from a learned state, zero at first, the same for every sequence. Products with the inputs
are done for all steps at once, before the scan. Sizes, gates and initial values are those of the `RNNLM_*`
tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from celo._core.mlp import truncated_normal
from celo.meta.tasks.layers import rescaled_normal

Weights = dict[str, jax.Array]


class Core(NamedTuple):
    """A recurrent layer.

    Attributes:
        init: `(keys, inputs, hidden)` to weights: two random keys, the width of an input and of the state.
        run: `(weights, inputs (length, batch, width))` to the states (length, batch, hidden).
    """

    init: Callable[[jax.Array, int, int], Weights]
    run: Callable[[Weights, jax.Array], jax.Array]


def _tile(state: jax.Array, inputs: jax.Array) -> jax.Array:
    """Give every sequence the learned initial state: (batch, hidden)."""
    return jnp.broadcast_to(state[None], (inputs.shape[1], state.shape[0]))


def _gru_init(keys: jax.Array, inputs: int, hidden: int) -> Weights:
    return {
        "w_i": rescaled_normal(keys[0], (inputs, 3 * hidden)),
        "w_h": rescaled_normal(keys[1], (hidden, 3 * hidden)),
        "b": jnp.zeros(3 * hidden, jnp.float32),
        "initial": jnp.zeros(hidden, jnp.float32),
    }


def _gru(weights: Weights, inputs: jax.Array) -> jax.Array:
    hidden = weights["initial"].shape[0]
    from_inputs = inputs @ weights["w_i"] + weights["b"][None, None]
    w_gates, w_candidate = weights["w_h"][:, : 2 * hidden], weights["w_h"][:, 2 * hidden :]

    def step(state: jax.Array, from_input: jax.Array) -> tuple[jax.Array, jax.Array]:
        gates = jax.nn.sigmoid(from_input[:, : 2 * hidden] + state @ w_gates)
        update, reset = gates[:, :hidden], gates[:, hidden:]
        candidate = jnp.tanh(from_input[:, 2 * hidden :] + (reset * state) @ w_candidate)
        state = (1 - update) * state + update * candidate
        return state, state

    return jax.lax.scan(step, _tile(weights["initial"], inputs), from_inputs)[1]


def _lstm_init(keys: jax.Array, inputs: int, hidden: int) -> Weights:
    return {
        # One matrix for input and state, as published: optimizers see it as one tensor.
        "w": truncated_normal(keys[0], (inputs + hidden, 4 * hidden), inputs + hidden),
        "b": jnp.zeros(4 * hidden, jnp.float32),
        "initial_h": jnp.zeros(hidden, jnp.float32),
        "initial_c": jnp.zeros(hidden, jnp.float32),
    }


def _lstm(weights: Weights, inputs: jax.Array) -> jax.Array:
    width = inputs.shape[-1]
    from_inputs = inputs @ weights["w"][:width] + weights["b"][None, None]
    w_state = weights["w"][width:]

    def step(
        state: tuple[jax.Array, jax.Array], from_input: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        h, c = state
        i, g, f, o = jnp.split(from_input + h @ w_state, 4, axis=1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    initial = (_tile(weights["initial_h"], inputs), _tile(weights["initial_c"], inputs))
    return jax.lax.scan(step, initial, from_inputs)[1]


def _vanilla_init(keys: jax.Array, inputs: int, hidden: int) -> Weights:
    return {
        "w_i": truncated_normal(keys[0], (inputs, hidden), inputs),
        "b_i": jnp.zeros(hidden, jnp.float32),
        "w_h": truncated_normal(keys[1], (hidden, hidden), hidden),
        "b_h": jnp.zeros(hidden, jnp.float32),
        "initial": jnp.zeros(hidden, jnp.float32),
    }


def _identity_init(keys: jax.Array, inputs: int, hidden: int) -> Weights:
    return {**_vanilla_init(keys, inputs, hidden), "w_h": jnp.eye(hidden, dtype=jnp.float32)}


def _vanilla(weights: Weights, inputs: jax.Array) -> jax.Array:
    from_inputs = inputs @ weights["w_i"] + weights["b_i"][None, None]

    def step(state: jax.Array, from_input: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jax.nn.relu(from_input + (state @ weights["w_h"] + weights["b_h"][None]))
        return state, state

    return jax.lax.scan(step, _tile(weights["initial"], inputs), from_inputs)[1]


# GRU: z, r and a the thirds of `x W_i + h W_h + b`, the reset applied before the candidate's product:
#   h <- (1 - z) h + z tanh(a).
# LSTM: i, g, f, o the quarters of `[x, h] W + b`: c <- sigmoid(f + 1) c + sigmoid(i) tanh(g),
#   h <- sigmoid(o) tanh(c).
# VanillaRNN: h <- relu(x W_i + b_i + h W_h + b_h). IRNN: the same, W_h the identity at first (Le et al. 2015,
#   arXiv 1504.00941).
CORES: Mapping[str, Core] = MappingProxyType(
    {
        "GRU": Core(_gru_init, _gru),
        "LSTM": Core(_lstm_init, _lstm),
        "VanillaRNN": Core(_vanilla_init, _vanilla),
        "IRNN": Core(_identity_init, _vanilla),
    }
)
