"""Images on the device, from which batches are gathered."""

import jax
import jax.numpy as jnp

from meta.datasets.images import ImageData
from meta.datasets.splits import check_split
from meta.tasks.base import Batch, Examples, pytree


@pytree
class DeviceImages:
    """The four splits of an image dataset on the device, as 8- or 16-bit integers.

    Attributes:
        splits: by split the arrays "image" (n, height * width * channels) and "label" (n,).
        scale: float32 scalar; a pixel in [0, 1] is its integer times this.
    """

    splits: dict[str, Examples]
    scale: jax.Array

    @classmethod
    def of(cls, data: ImageData) -> "DeviceImages":
        """Put a dataset on the default device."""
        splits = {
            name: Examples.of({"image": split.images.reshape(len(split.images), -1), "label": split.labels})
            for name, split in data.splits.items()
        }
        return cls(splits, jnp.asarray(1.0 / data.level, jnp.float32))

    @property
    def features(self) -> int:
        """Number of pixels times channels of an image."""
        return self.splits["train"].arrays["image"].shape[-1]

    def batch(self, key: jax.Array, split: str, batch_size: int) -> Batch:
        """Draw a batch with replacement.

        Args:
            key: random key.
            split: "train", "inner_valid", "outer_valid" or "test".
            batch_size: number of examples.

        Returns:
            "image": float32 in [0, 1], (batch_size, features); "label": int32, (batch_size,).
        """
        examples = self.splits[check_split(split)]
        return self.convert(examples.take(examples.indices(key, batch_size)))

    def convert(self, batch: Batch) -> Batch:
        """Turn gathered integer images into float32 in [0, 1]."""
        return {**batch, "image": batch["image"].astype(jnp.float32) * self.scale}
