"""Perceptrons on images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask, classifier
from celo.meta.tasks.image_mlp import ImageMLP
from celo.meta.tasks.models import Perceptron


def _mlp(dataset: str, size: int | None, channels: int | None, *hidden: int, **config: Any) -> ImageTask:
    config = {"batch_size": 128, **config}
    return ImageTask("image_mlp", dataset, ImageMLP.of, size, channels, {"hidden": hidden, **config})


def _cifar10(*hidden: int, **config: Any) -> ImageTask:
    return _mlp("cifar10", None, None, *hidden, **config)


def _network(network: Perceptron, **config: Any) -> ImageTask:
    return classifier("image_mlp", "cifar10", None, network, **config)


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
    "ImageMLP_FashionMnist16_Relu32": _mlp("fashion_mnist", 16, 1, 32),
    "ImageMLP_FashionMnist32_Relu32": _mlp("fashion_mnist", 32, 1, 32),
    "ImageMLP_FashionMnist_Relu128x128": _mlp("fashion_mnist", None, None, 128, 128),
    "ImageMLP_Mnist_128x128x128_Relu": _mlp("mnist", None, None, 128, 128, 128),
    "ImageMLP_Imagenet16_Relu256x256x256": _mlp("imagenet2012", 16, 3, 256, 256, 256),
    "ImageMLP_Cifar100_128x128x128_Relu": _mlp("cifar100", None, None, 128, 128, 128),
    "ImageMLP_Cifar10_128x128x128_Relu": _cifar10(128, 128, 128),
    "ImageMLP_Cifar10_128x128x128_Tanh_bs64": _cifar10(128, 128, 128, activation="tanh", batch_size=64),
    "ImageMLP_Cifar10_128x128x128_Tanh_bs128": _cifar10(128, 128, 128, activation="tanh"),
    "ImageMLP_Cifar10_128x128x128_Tanh_bs256": _cifar10(128, 128, 128, activation="tanh", batch_size=256),
    "ImageMLP_Cifar10_256x256_Relu": _cifar10(256, 256),
    "ImageMLP_Cifar10_256x256_Relu_BS32": _cifar10(256, 256, batch_size=32),
    "ImageMLP_Cifar10_1024x1024_Relu": _cifar10(1024, 1024),
    "ImageMLP_Cifar10_4096x4096_Relu": _cifar10(4096, 4096),
    "ImageMLP_Cifar10_8192x8192_Relu": _cifar10(8192, 8192),
    "ImageMLP_Cifar10_16384x16384_Relu": _cifar10(16384, 16384),
}

_SQUARED_ERROR = {"objective": "squared_error", "normalization": "tenfold"}
_DEEP, _SHALLOW = (128, 128, 128), (128, 128)

# The perceptrons with norms, dropout or another loss; all on CIFAR-10 with batches of 128.
_VARIANTS = {
    "ImageMLP_Cifar10_128x128x128_Relu_MSE": _network(Perceptron(_DEEP), **_SQUARED_ERROR),
    "ImageMLP_Cifar10_128x128_Dropout02_Relu_MSE": _network(
        Perceptron(_SHALLOW, dropout=0.2), **_SQUARED_ERROR
    ),
    "ImageMLP_Cifar10_128x128_Dropout05_Relu_MSE": _network(
        Perceptron(_SHALLOW, dropout=0.5), **_SQUARED_ERROR
    ),
    "ImageMLP_Cifar10_128x128_Dropout08_Relu_MSE": _network(
        Perceptron(_SHALLOW, dropout=0.8), **_SQUARED_ERROR
    ),
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu": _network(Perceptron(_DEEP, norm="layer_norm")),
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Tanh": _network(
        Perceptron(_DEEP, activation="tanh", norm="layer_norm")
    ),
    "ImageMLP_Cifar10_128x128x128_BatchNorm_Relu": _network(Perceptron(_DEEP, norm="batch_norm")),
    "ImageMLP_Cifar10_128x128x128_BatchNorm_Tanh": _network(
        Perceptron(_DEEP, activation="tanh", norm="batch_norm")
    ),
}

IMAGE_MLP_TASKS: Mapping[str, Entry] = MappingProxyType({**_OURS, **_PUBLISHED, **_VARIANTS})
