"""Rows of the registry for tasks on images."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from celo.meta.data.catalog import IMAGE_DATASETS, ImageSpec
from celo.meta.data.images import ImageData, ImageSplit, load_images
from celo.meta.data.splits import SPLITS
from celo.meta.tasks.base import Task
from celo.meta.tasks.families.entry import Entry, Folders
from celo.meta.tasks.image_classifier import ImageClassifier


@dataclasses.dataclass(frozen=True)
class ImageTask(Entry):
    """A task on images: a dataset at a size, and the configuration of the task.

    Attributes:
        build: `build(data, name=..., **config)` is the task on a dataset.
        size: height and width in pixels, or None for the dataset's own.
        channels: 1, 3, or None for the dataset's own.
        config: further arguments of `build`.
        upstream_1_percent: train on 1% of the train file, see `celo.meta.data.load_images`.
    """

    dataset: str
    build: Callable[..., Task]
    size: int | None
    channels: int | None
    config: Mapping[str, Any]
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

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        data = load_images(
            self.dataset, self.size, self.channels, upstream_1_percent=self.upstream_1_percent, **folders
        )
        return self.build(data, name=name, **self.config)

    def blank(self, name: str) -> Task:
        """Build the task on one black image per split."""
        split = ImageSplit(np.zeros((1, *self.shape), np.uint8), np.zeros(1, np.int32))
        data = ImageData(self.dataset, dict.fromkeys(SPLITS, split), self.spec.num_classes, self.spec.white)
        return self.build(data, name=name, **self.config)


def classifier(
    family: str, dataset: str, size: int | None, network: nn.Module, batch_size: int = 128, **config: Any
) -> ImageTask:
    """Make the row of an `ImageClassifier` on colour images.

    Args:
        family: name of the family.
        dataset: short name of the dataset.
        size: height and width in pixels, or None for the dataset's own.
        network: the network; the number of classes is the dataset's.
        batch_size: examples per batch.
        **config: `objective`, `normalization`.
    """
    config = {"network": network, "batch_size": batch_size, **config}
    return ImageTask(family, dataset, ImageClassifier.of, size, 3, config)
