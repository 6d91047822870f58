"""Tokens on the device, from which sequences are gathered."""

import jax
import jax.numpy as jnp

from meta.datasets.splits import check_split
from meta.datasets.text import TextData
from meta.tasks.base import Batch, Examples, draw_indices, pytree


@pytree
class DeviceTokens:
    """The four splits of a corpus on the device, as 16-bit integers.

    Attributes:
        splits: by split the array "token" (n,).
    """

    splits: dict[str, Examples]

    @classmethod
    def of(cls, data: TextData) -> "DeviceTokens":
        """Put a corpus on the default device."""
        return cls({name: Examples.of({"token": tokens}) for name, tokens in data.splits.items()})

    def starts(self, key: jax.Array, split: str, batch_size: int, length: int) -> jax.Array:
        """Draw where windows start, anywhere in a split, with replacement.

        Args:
            key: random key.
            split: "train", "inner_valid", "outer_valid" or "test".
            batch_size: number of windows.
            length: number of tokens predicted; every split holds more than that.

        Returns:
            int32 of shape (batch_size,).
        """
        return draw_indices(key, self.splits[check_split(split)].size - length, (batch_size,))

    def gather(self, split: str, starts: jax.Array, length: int) -> Batch:
        """Gather windows of ``length`` tokens and the token after each.

        Returns:
            "input" and "target", int32 of shape (len(starts), length), the target one token ahead.
        """
        window = starts[:, None] + jnp.arange(length + 1, dtype=jnp.int32)[None]
        tokens = self.splits[check_split(split)].take(window)["token"].astype(jnp.int32)
        return {"input": tokens[:, :-1], "target": tokens[:, 1:]}
