"""Next-token prediction with one recurrent layer, and its tasks: on LM1B and Wikipedia, and on small corpora.

Every recurrent layer starts from a learned state, zero at first, the same for every sequence. Products with
the inputs are done for all steps at once, before the scan. Sizes, gates and initial values are those of the
`RNNLM_*` tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from celo._core.mlp import truncated_normal
from celo._core.names import unknown_name
from celo.meta.tasks.base import pytree, static
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.language_model import LanguageModel, dense
from celo.meta.tasks.layers import Layers, check_positive, init_mlp, rescaled_normal
from celo.meta.tasks.text_data import BYTES, SUBWORDS, TextEntry

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


@pytree
class RecurrentLM(LanguageModel):
    """Predict the next token by an embedding, one recurrent layer and a dense output.

    With E the embedding: `h_t = core(h_{t-1}, E[token_t])`, logits `h_t W + b`; the first state is learned.
    The recurrent layers are those of `CORES`.

    Architecture and loss of the `RNNLM_*` tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        embedding: width of the embedding.
        hidden: width of the recurrent state.
        core: "GRU", "LSTM", "VanillaRNN" or "IRNN".
    """

    embedding: int = static(default=32)
    hidden: int = static(default=64)
    core: str = static(default="GRU")

    def __post_init__(self):
        super().__post_init__()
        for what in ("embedding", "hidden"):
            check_positive(what, getattr(self, what))
        if self.core not in CORES:
            raise unknown_name("recurrent core", self.core, CORES)

    def describe(self, data: str) -> str:
        """Make a name of a name for the data and of the configuration."""
        net = f"{self.core}{self.hidden}_Embed{self.embedding}"
        return f"RNNLM_{data}_Patch{self.length}_{net}_bs{self.batch_size}"

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        keys = jax.random.split(key, 4)
        params = {
            "embedding": {"w": truncated_normal(keys[0], (self.vocab_size, self.embedding), 1)},
            self.core.lower(): CORES[self.core].init(keys[1:3], self.embedding, self.hidden),
        }
        return params | init_mlp(keys[3], (self.hidden, self.vocab_size)), ()

    def logits(self, params: Layers, key: jax.Array, tokens: jax.Array) -> jax.Array:
        """Compute the logits of the next token; see `LanguageModel.logits`. The key is not used."""
        embedded = params["embedding"]["w"][tokens]
        states = CORES[self.core].run(params[self.core.lower()], embedded)
        return dense(params["linear_0"], states)


_CORPORA = {"lm1b": "lm1b", "wikipediaen": "wikipedia20201201"}
_VOCABULARIES = {"bytes": BYTES, "32k": SUBWORDS}


def _recurrent(corpus: str, vocabulary: str, core: str, hidden: int, length: int = 32) -> tuple[str, Entry]:
    """Name and entry; the embedding is half as wide as the state, the batch 128."""
    config = {"core": core, "hidden": hidden, "embedding": hidden // 2, "length": length, "batch_size": 128}
    name = f"RNNLM_{corpus}{vocabulary}_Patch{length}_{core}{hidden}_Embed{hidden // 2}"
    words = _VOCABULARIES[vocabulary]
    return name, TextEntry("rnn_lm", _CORPORA[corpus], RecurrentLM.of, config, words)


def _windows(dataset: str, **config: int) -> TextEntry:
    return TextEntry("byte_rnn_lm", dataset, RecurrentLM.of, config, windows=True)


# "32k" in a name is a vocabulary of 32,100 sub-words, "bytes" one of 259. The published vocabulary is that of
# T5; unless the caller gives it, ours is trained on the corpus, as the task's `vocabulary` shows.
RNN_LM_TASKS: dict[str, Entry] = dict(
    [
        _recurrent("lm1b", "bytes", "IRNN", 128),
        _recurrent("lm1b", "bytes", "LSTM", 128),
        _recurrent("lm1b", "bytes", "GRU", 128),
        _recurrent("lm1b", "bytes", "VanillaRNN", 128),
        _recurrent("lm1b", "bytes", "LSTM", 128, length=128),
        _recurrent("lm1b", "bytes", "LSTM", 256),
        _recurrent("lm1b", "bytes", "GRU", 256),
        _recurrent("lm1b", "32k", "VanillaRNN", 256),
        _recurrent("lm1b", "32k", "LSTM", 256),
        _recurrent("lm1b", "32k", "IRNN", 256),
        _recurrent("wikipediaen", "32k", "LSTM", 256),
        _recurrent("wikipediaen", "32k", "GRU", 256),
        _recurrent("wikipediaen", "bytes", "LSTM", 256),
        _recurrent("wikipediaen", "bytes", "GRU", 256),
    ]
)

BYTE_RNN_LM_TASKS: dict[str, Entry] = {
    "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16": _windows("pydoc", hidden=32, embedding=16, length=16),
    "RNNLM_pydocbytes_Patch32_GRU64_Embed32_bs16": _windows("pydoc", hidden=64, embedding=32, length=32),
    "RNNLM_wikitext2validbytes_Patch16_GRU32_Embed16_bs16": _windows(
        "wikitext2_valid", hidden=32, embedding=16, length=16
    ),
    "RNNLM_tinyshakespearebytes_Patch32_GRU64_Embed32_bs16": _windows(
        "tiny_shakespeare", hidden=64, embedding=32, length=32
    ),
}
