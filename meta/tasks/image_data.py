"""Images on the device, from which batches are gathered."""

import jax
import jax.numpy as jnp

from celo.meta.data.images import ImageData
from celo.meta.data.splits import check_split
from celo.meta.tasks.base import Batch, Examples, Label, draw_indices, pytree


def default_name(
    kind: str, data: ImageData, hidden: tuple[int, ...], activation: str, batch_size: int
) -> str:
    """Name a perceptron task by its kind, data and configuration."""
    shape, widths = ("x".join(map(str, numbers)) for numbers in (data.shape, hidden))
    return f"{kind}_{data.name}_{shape}_{activation}{widths}_bs{batch_size}"


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

    def indices(self, key: jax.Array, split: str, batch_size: int) -> jax.Array:
        """Draw the row numbers of a batch, with replacement: int32 of shape (batch_size,)."""
        examples = self.splits[check_split(split)]
        return draw_indices(key, examples.size, (batch_size,))

    def gather(self, split: str, indices: jax.Array) -> Batch:
        """Gather the examples of given row numbers.

        Returns:
            "image": float32 in [0, 1], (batch_size, features); "label": int32, (batch_size,); the shape of
            `indices` replaces (batch_size,).
        """
        rows = self.splits[check_split(split)].take(indices)
        return {"image": rows["image"].astype(jnp.float32) * self.scale, "label": rows["label"]}


class ImageBatches:
    """What tasks on images share: their name, and batches of their data."""

    data: DeviceImages
    label: Label
    batch_size: int

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw the row numbers of a batch, int32 (batch,)."""
        return self.data.indices(key, split, self.batch_size)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "image" (batch, features) in [0, 1] and "label" (batch,)."""
        return self.data.gather(split, sample)

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))
