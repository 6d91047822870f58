"""Tasks by name, in the style of the fixed tasks of learned_optimization.

A name gives the kind of task, the data and their size, the architecture and the batch. A published name keeps
its published batch of 128; the families of the Celo paper train on 64, which their names say. "BW" is an
image averaged to one channel.
"""

import dataclasses
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celo.names import unknown_name
from meta.datasets.images import load_images
from meta.datasets.text import load_text
from meta.tasks.base import Task
from meta.tasks.image_autoencoder import ImageAutoencoder
from meta.tasks.image_mlp import ImageMLP
from meta.tasks.recurrent_lm import RecurrentLM


@dataclasses.dataclass(frozen=True)
class ImageTask:
    """An image task: a dataset at a size, and the configuration of the task.

    Attributes:
        kind: the task's class.
        dataset: short name of the dataset.
        size: height and width in pixels, or None for the dataset's own.
        channels: 1, 3, or None for the dataset's own.
        config: arguments of `kind.of`.
    """

    kind: type[ImageMLP] | type[ImageAutoencoder]
    dataset: str
    size: int | None
    channels: int | None
    config: Mapping[str, Any]

    def make(self, name: str, folders: Mapping[str, Any]) -> Task:
        """Load the data and build the task."""
        data = load_images(self.dataset, self.size, self.channels, **folders)
        return self.kind.of(data, name=name, **self.config)


@dataclasses.dataclass(frozen=True)
class TextTask:
    """A language model on the bytes of a corpus.

    Attributes:
        dataset: short name of the dataset.
        config: arguments of `RecurrentLM.of`.
    """

    dataset: str
    config: Mapping[str, Any]

    def make(self, name: str, folders: Mapping[str, Any]) -> Task:
        """Load the data and build the task."""
        return RecurrentLM.of(load_text(self.dataset, **folders), name=name, **self.config)


def _mlp(dataset: str, size: int | None, channels: int | None, *hidden: int, **config: Any) -> ImageTask:
    return ImageTask(ImageMLP, dataset, size, channels, {"hidden": hidden, **config})


def _autoencoder(dataset: str, *hidden: int, **config: Any) -> ImageTask:
    return ImageTask(ImageAutoencoder, dataset, None, None, {"hidden": hidden, **config})


# The four families of the Celo paper, section 4.
META_TRAINING = (
    "ImageMLP_Mnist8_Relu32_bs64",
    "ImageMLP_FashionMnist8_Relu32_bs64",
    "ImageMLP_SvhnBW8_Relu32_bs64",
    "ImageMLP_Cifar10BW8_Relu32_bs64",
)

TASKS: Mapping[str, ImageTask | TextTask] = MappingProxyType(
    {
        "ImageMLP_Mnist8_Relu32_bs64": _mlp("mnist", 8, 1, 32),
        "ImageMLP_FashionMnist8_Relu32_bs64": _mlp("fashion_mnist", 8, 1, 32),
        "ImageMLP_SvhnBW8_Relu32_bs64": _mlp("svhn", 8, 1, 32),
        "ImageMLP_Cifar10BW8_Relu32_bs64": _mlp("cifar10", 8, 1, 32),
        "ImageMLP_FashionMnist8_Relu32": _mlp("fashion_mnist", 8, 1, 32, batch_size=128),
        "ImageMLP_Cifar10BW8_Relu32": _mlp("cifar10", 8, 1, 32, batch_size=128),
        "ImageMLP_Cifar10_8_Relu32": _mlp("cifar10", 8, 3, 32, batch_size=128),
        "ImageMLP_Mnist_128x128x128_Relu": _mlp("mnist", None, None, 128, 128, 128, batch_size=128),
        "ImageMLP_FashionMnist_Relu128x128": _mlp("fashion_mnist", None, None, 128, 128, batch_size=128),
        "ImageMLPAE_Mnist_128x32x128_bs128": _autoencoder("mnist", 128, 32, 128),
        "ImageMLPAE_FashionMnist_128x32x128_bs128": _autoencoder("fashion_mnist", 128, 32, 128),
        "ImageMLP_Digits8_Relu32_bs64": _mlp("digits", 8, 1, 32),
        "ImageMLP_Digits8_Tanh32_bs64": _mlp("digits", 8, 1, 32, activation="tanh"),
        "ImageMLP_Digits8_Relu16_bs64": _mlp("digits", 8, 1, 16),
        "ImageMLP_Digits8_Relu32x32_bs64": _mlp("digits", 8, 1, 32, 32),
        "ImageMLP_Digits8_Relu64x64x64_bs64": _mlp("digits", 8, 1, 64, 64, 64),
        "ImageMLPAE_Digits8_32x16x32_bs64": _autoencoder("digits", 32, 16, 32, batch_size=64),
        "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16": TextTask(
            "pydoc", {"hidden": 32, "embedding": 16, "length": 16}
        ),
        "RNNLM_pydocbytes_Patch32_GRU64_Embed32_bs16": TextTask("pydoc", {"hidden": 64, "embedding": 32}),
        "RNNLM_tinyshakespearebytes_Patch32_GRU64_Embed32_bs16": TextTask(
            "tiny_shakespeare", {"hidden": 64, "embedding": 32}
        ),
    }
)


def make(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Task:
    """Build a task by name, loading its data.

    Args:
        name: one of `TASKS`.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for decoded arrays; default the variable CELO_CACHE, else ~/.cache/celo.

    Returns:
        The task, its data on the default device.

    Raises:
        ValueError: an unknown name; the nearest names are in the message.
        DatasetNotFoundError: the data are nowhere to be had.

    Example:
        >>> make("ImageMLP_Digits8_Relu32_bs64").num_classes
        10
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name].make(name, {"data_dir": data_dir, "cache_dir": cache_dir})
