"""Base of the language models: batches of tokens and the masked loss."""

import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from celo.meta.data.text import TextData
from celo.meta.data.tokenizers import PAD
from celo.meta.tasks.base import Batch, Label, Loss, Task, pytree, static
from celo.meta.tasks.layers import Layers, check_positive, clip_loss, cross_entropy, uniform_guess_ceiling
from celo.meta.tasks.text_data import DeviceText


@pytree
class LanguageModel(Task):
    """Predict the next token at every position.

    The loss is `sum(m l) / sum(m)` over the positions of a batch, in nats per token, with l the cross-entropy
    and m = 1 where the *input* token is not padding; so the padding after a document's last token is
    predicted too, once.

    Data are either windows from anywhere in a corpus or the beginnings of documents; see
    `celo.meta.tasks.text_data`.

    Attributes:
        data: tokens on the device.
        vocab_size: number V of tokens; the loss of a uniform guess is ln V.
        length: tokens predicted per sequence.
        batch_size: sequences per batch.
    """

    data: DeviceText
    vocab_size: int = static()
    length: int = static(default=32)
    batch_size: int = static(default=16)

    loss_unit = "nats per token"

    def __post_init__(self):
        for what in ("vocab_size", "length", "batch_size"):
            check_positive(what, getattr(self, what))

    @classmethod
    def of(cls, data: TextData, name: str | None = None, length: int = 32, **config: Any) -> Self:
        """Build the task on host tokens of a whole text, or of documents.

        ValueError if a split is shorter than a sequence and its target, or a number is out of range.
        """
        check_positive("length", length)
        task = cls(DeviceText.of(data, length), data.vocab_size, length, **config)
        name = name or task.describe(data.name + data.tokenizer)
        return dataclasses.replace(task, label=Label(name, data.name, data.vocabulary, data.note))

    @property
    def data_note(self) -> str:
        """The corpus and the vocabulary in words, with the number of documents and of ids in use."""
        return self.label.note

    def describe(self, data: str) -> str:
        """Make a name of a name for the data and of the configuration."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        raise NotImplementedError

    def logits(self, params: Layers, key: jax.Array, tokens: jax.Array) -> jax.Array:
        """Compute the logits of the next token, float32 (length, batch, vocab_size).

        Tokens are int32 (length, batch), time first; logits at time t depend on tokens 0 .. t. The key is for
        dropout.
        """
        raise NotImplementedError

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw which sequences a batch holds, int32 (batch_size,)."""
        return self.data.draw(key, split, self.batch_size)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "input" and "target", int32 of shape (batch_size, length)."""
        return self.data.gather(split, sample)

    def loss(self, params: Layers, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean cross-entropy per token; aux holds bits per token. The key is for dropout."""
        tokens = batch["input"].T
        losses = cross_entropy(self.logits(params, key, tokens), batch["target"].T, axis=-1)
        real = (tokens != PAD).astype(jnp.float32)
        loss = jnp.sum(losses * real) / jnp.maximum(jnp.sum(real), 1.0)
        return loss, model_state, {"bits_per_token": loss / math.log(2)}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, 1.5 ln V], NaN to 1.5 ln V (the reference has no bound here)."""
        return clip_loss(loss, uniform_guess_ceiling(self.vocab_size))


def dense(layer: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """Apply a dense layer to the last axis, (length, batch, inputs) to (length, batch, outputs).

    As one matrix product: under vmap, XLA's CPU code for a product of rank 3 takes three times as long.
    """
    flat = inputs.reshape(-1, inputs.shape[-1]) @ layer["w"] + layer["b"][None]
    return flat.reshape(*inputs.shape[:-1], -1)
