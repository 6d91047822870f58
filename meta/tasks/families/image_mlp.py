"""Perceptrons on images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from meta.tasks.families.entry import Entry
from meta.tasks.families.image import ImageTask
from meta.tasks.image_mlp import ImageMLP


def _mlp(dataset: str, size: int | None, channels: int | None, *hidden: int, **config: Any) -> ImageTask:
    config = {"batch_size": 128, **config}
    return ImageTask("image_mlp", dataset, ImageMLP.of, size, channels, {"hidden": hidden, **config})


# The four families of the Celo paper, section 4.
META_TRAINING = (
    "ImageMLP_Mnist8_Relu32_bs64",
    "ImageMLP_FashionMnist8_Relu32_bs64",
    "ImageMLP_SvhnBW8_Relu32_bs64",
    "ImageMLP_Cifar10BW8_Relu32_bs64",
)

_OURS = {
    "ImageMLP_Mnist8_Relu32_bs64": _mlp("mnist", 8, 1, 32, batch_size=64),
    "ImageMLP_FashionMnist8_Relu32_bs64": _mlp("fashion_mnist", 8, 1, 32, batch_size=64),
    "ImageMLP_SvhnBW8_Relu32_bs64": _mlp("svhn", 8, 1, 32, batch_size=64),
    "ImageMLP_Cifar10BW8_Relu32_bs64": _mlp("cifar10", 8, 1, 32, batch_size=64),
    "ImageMLP_Digits8_Relu32_bs64": _mlp("digits", 8, 1, 32, batch_size=64),
    "ImageMLP_Digits8_Tanh32_bs64": _mlp("digits", 8, 1, 32, activation="tanh", batch_size=64),
    "ImageMLP_Digits8_Relu16_bs64": _mlp("digits", 8, 1, 16, batch_size=64),
    "ImageMLP_Digits8_Relu32x32_bs64": _mlp("digits", 8, 1, 32, 32, batch_size=64),
    "ImageMLP_Digits8_Relu64x64x64_bs64": _mlp("digits", 8, 1, 64, 64, 64, batch_size=64),
}

_PUBLISHED = {
    "ImageMLP_Cifar10BW8_Relu32": _mlp("cifar10", 8, 1, 32),
    "ImageMLP_Cifar10_8_Relu32": _mlp("cifar10", 8, 3, 32),
    "ImageMLP_FashionMnist8_Relu32": _mlp("fashion_mnist", 8, 1, 32),
    "ImageMLP_FashionMnist_Relu128x128": _mlp("fashion_mnist", None, None, 128, 128),
    "ImageMLP_Mnist_128x128x128_Relu": _mlp("mnist", None, None, 128, 128, 128),
}

IMAGE_MLP_TASKS: Mapping[str, Entry] = MappingProxyType({**_OURS, **_PUBLISHED})
