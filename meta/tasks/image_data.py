"""Tasks on images: data on the device, batches of them, and rows of the registry."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.catalog import IMAGE_DATASETS, SPLITS, ImageSpec, check_split
from celo.meta.data.images import ImageData, ImageSplit, load_images
from celo.meta.tasks.base import Batch, Examples, Task, draw_indices, pytree, static
from celo.meta.tasks.entry import Entry, Folders


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
        return draw_indices(key, self.splits[check_split(split)].size, (batch_size,))

    def gather(self, split: str, indices: jax.Array) -> Batch:
        """Gather the examples of given row numbers, whose shape replaces (batch_size,).

        "image" is float32 in [0, 1], (batch_size, features); "label" is int32, (batch_size,).
        """
        rows = self.splits[check_split(split)].take(indices)
        return {"image": rows["image"].astype(jnp.float32) * self.scale, "label": rows["label"]}


@pytree
class ImageBatches(Task):
    """A task on batches of images.

    Attributes:
        data: images on the device.
        batch_size: examples per batch.
    """

    data: DeviceImages
    batch_size: int = static(default=128, kw_only=True)

    def describe(self, kind: str, data: ImageData) -> str:
        """Make a name of a perceptron task of its data and configuration."""
        config: Any = self
        shape, widths = ("x".join(map(str, numbers)) for numbers in (data.shape, config.hidden))
        return f"{kind}_{data.name}_{shape}_{config.activation}{widths}_bs{self.batch_size}"

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw the row numbers of a batch, int32 (batch,)."""
        return self.data.indices(key, split, self.batch_size)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "image" (batch, features) in [0, 1] and "label" (batch,)."""
        return self.data.gather(split, sample)


@dataclasses.dataclass(frozen=True)
class ImageEntry(Entry):
    """The row of a task on a dataset at a size.

    Attributes:
        size: height and width in pixels, or None for the dataset's own.
        channels: 1, 3, or None for the dataset's own.
        upstream_1_percent: train on 1% of the train file, see `celo.meta.data.load_images`.
    """

    dataset: str
    size: int | None
    channels: int | None
    upstream_1_percent: bool = False

    @property
    def spec(self) -> ImageSpec:
        """Entry of the catalog of datasets."""
        return IMAGE_DATASETS[self.dataset]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images the task sees."""
        height, width, channels = self.spec.shape
        return self.size or height, self.size or width, self.channels or channels

    def load(self, folders: Folders) -> ImageData:
        """Load the images."""
        slip: dict[str, Any] = {"upstream_1_percent": self.upstream_1_percent}
        return load_images(self.dataset, self.size, self.channels, **slip, **folders)

    def blank_data(self) -> ImageData:
        """Return one black image per split."""
        split = ImageSplit(np.zeros((1, *self.shape), np.uint8), np.zeros(1, np.int32))
        return ImageData(self.dataset, dict.fromkeys(SPLITS, split), self.spec.num_classes, self.spec.white)
