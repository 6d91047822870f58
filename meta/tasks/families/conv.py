"""Plain convolutional networks on images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask, classifier
from celo.meta.tasks.models import ConvNet


def _conv(dataset: str, size: int | None, *channels: int, batch_size: int = 128, **network: Any) -> ImageTask:
    net = ConvNet(channels, **network)
    return classifier("conv", dataset, size, net, batch_size, normalization="clip")


CONV_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "Conv_Cifar10_8_16x32": _conv("cifar10", 8, 16, 32),
        "Conv_Cifar10_16_32x64x64": _conv("cifar10", 16, 32, 64, 64),
        "Conv_Cifar10_32x64x64": _conv("cifar10", None, 32, 64, 64),
        "Conv_Cifar10_32x64x64_Tanh": _conv("cifar10", None, 32, 64, 64, activation="tanh"),
        "Conv_Cifar10_32x64x64_batchnorm": _conv("cifar10", None, 32, 64, 64, norm="batch_norm"),
        "Conv_Cifar10_32x64x64_layernorm": _conv("cifar10", None, 32, 64, 64, norm="layer_norm"),
        "Conv_Cifar100_32x64x64": _conv("cifar100", None, 32, 64, 64),
        "Conv_Cifar100_32x64x64_BS32": _conv("cifar100", None, 32, 64, 64, batch_size=32),
        "Conv_Cifar100_32x64x64_Tanh": _conv("cifar100", None, 32, 64, 64, activation="tanh"),
        "Conv_imagenet32_16_32x64x64": _conv("imagenet2012", 32, 32, 64, 64),
        "Conv_imagenet16_16_64x128x128x128": _conv("imagenet2012", 16, 64, 128, 128, 128),
    }
)
