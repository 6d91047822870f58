"""Next-token prediction with a gated recurrent unit."""

import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from celo.mlp import truncated_normal
from meta.datasets.text import TextData
from meta.datasets.tokenizers import PAD
from meta.tasks.base import Aux, Batch, Label, pytree, static
from meta.tasks.layers import (
    Layers,
    check_positive,
    clip_loss,
    cross_entropy,
    init_mlp,
    uniform_guess_ceiling,
)
from meta.tasks.text_data import DeviceTokens

_TRUNCATED_STD = 0.87962566  # standard deviation of a unit normal cut at two sigma


@pytree
class RecurrentLM:
    """Predict the next token by an embedding, one gated recurrent layer and a dense output.

    With z, r and a the three thirds of `x W_i + h W_h + b`, the reset applied before the candidate's product:
    `h <- (1 - z) h + z tanh(a)`, `r` and `z` through sigmoids. The first state is learned. The loss is the
    mean cross-entropy over positions whose input is not padding, in nats per token.

    Architecture and loss of the `RNNLM_*_GRU*` tasks of learned_optimization (Metz et al. 2022, arXiv
    2203.11860); those read the beginnings of documents, this one windows from anywhere in a corpus.

    Attributes:
        data: tokens on the device.
        label: holds the name.
        vocab_size: number V of tokens; the loss of a uniform guess is ln V.
        embedding: width of the embedding.
        hidden: width of the recurrent state.
        length: tokens predicted per sequence.
        batch_size: sequences per batch.
    """

    data: DeviceTokens
    label: Label = static()
    vocab_size: int = static()
    embedding: int = static(default=32)
    hidden: int = static(default=64)
    length: int = static(default=32)
    batch_size: int = static(default=16)

    def __post_init__(self):
        for what in ("vocab_size", "embedding", "hidden", "length", "batch_size"):
            check_positive(what, getattr(self, what))

    @classmethod
    def of(cls, data: TextData, name: str | None = None, **config: Any) -> Self:
        """Build the task on a corpus.

        Args:
            data: the tokens, on the host.
            name: name of the task; by default made of the data and the configuration.
            **config: `embedding`, `hidden`, `length`, `batch_size`.

        Raises:
            ValueError: a split is shorter than a sequence and its target.
        """
        task = cls(DeviceTokens.of(data), Label(""), data.vocab_size, **config)
        for split, tokens in data.splits.items():
            if len(tokens) <= task.length:
                raise ValueError(
                    f"{data.name} {split} has {len(tokens)} tokens; needed are over {task.length}"
                )
        made = (
            f"RNNLM_{data.name}{data.tokenizer}_Patch{task.length}_GRU{task.hidden}_Embed{task.embedding}"
            f"_bs{task.batch_size}"
        )
        return dataclasses.replace(task, label=Label(name or made))

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        embed, inputs, states, head = jax.random.split(key, 4)
        gates = 3 * self.hidden
        params = {
            "embedding": {"w": truncated_normal(embed, (self.vocab_size, self.embedding), 1)},
            "gru": {
                "w_i": truncated_normal(inputs, (self.embedding, gates), self.embedding) / _TRUNCATED_STD,
                "w_h": truncated_normal(states, (self.hidden, gates), self.hidden) / _TRUNCATED_STD,
                "b": jnp.zeros(gates),
                "initial": jnp.zeros(self.hidden),
            },
        }
        return params | init_mlp(head, (self.hidden, self.vocab_size)), ()

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw where the windows of a batch start, int32 (batch_size,)."""
        return self.data.starts(key, split, self.batch_size, self.length)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "input" and "target", int32 of shape (batch_size, length)."""
        return self.data.gather(split, sample, self.length)

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))

    def loss(
        self, params: Layers, model_state: tuple[()], key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[()], Aux]:
        """Compute the mean cross-entropy per token; aux holds bits per token. The key is not used."""
        embedded = params["embedding"]["w"][batch["input"].T]
        states = _gru(params["gru"], embedded)
        # As one matrix product: under vmap, XLA's CPU code for a product of rank 3 takes three times as long.
        flat = states.reshape(-1, self.hidden) @ params["linear_0"]["w"] + params["linear_0"]["b"][None]
        logits = flat.reshape(*states.shape[:2], -1)
        real = (batch["input"].T != PAD).astype(jnp.float32)
        losses = cross_entropy(logits, batch["target"].T, axis=-1)
        loss = jnp.sum(losses * real) / jnp.maximum(jnp.sum(real), 1.0)
        return loss, model_state, {"bits_per_token": loss / math.log(2)}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, 1.5 ln V], NaN to 1.5 ln V (the reference has no bound here)."""
        return clip_loss(loss, uniform_guess_ceiling(self.vocab_size))


def _gru(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """Run the recurrent layer over (length, batch, embedding); returns the states (length, batch, hidden)."""
    hidden = params["initial"].shape[0]
    from_inputs = inputs @ params["w_i"] + params["b"][None, None]
    w_gates, w_candidate = params["w_h"][:, : 2 * hidden], params["w_h"][:, 2 * hidden :]

    def step(state: jax.Array, from_input: jax.Array) -> tuple[jax.Array, jax.Array]:
        gates = jax.nn.sigmoid(from_input[:, : 2 * hidden] + state @ w_gates)
        update, reset = gates[:, :hidden], gates[:, hidden:]
        candidate = jnp.tanh(from_input[:, 2 * hidden :] + (reset * state) @ w_candidate)
        state = (1 - update) * state + update * candidate
        return state, state

    initial = jnp.broadcast_to(params["initial"][None], (inputs.shape[1], hidden))
    return jax.lax.scan(step, initial, from_inputs)[1]
