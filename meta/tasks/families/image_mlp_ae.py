"""Perceptrons that reconstruct images through a bottleneck."""

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask
from celo.meta.tasks.image_autoencoder import ImageAutoencoder


def _autoencoder(dataset: str, *hidden: int, batch_size: int = 128) -> ImageTask:
    config = {"hidden": hidden, "batch_size": batch_size}
    return ImageTask("image_mlp_ae", dataset, ImageAutoencoder.of, None, None, config)


IMAGE_MLP_AE_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "ImageMLPAE_Digits8_32x16x32_bs64": _autoencoder("digits", 32, 16, 32, batch_size=64),
        "ImageMLPAE_Cifar10_32x32x32_bs128": _autoencoder("cifar10", 32, 32, 32),
        "ImageMLPAE_Cifar10_256x256x256_bs128": _autoencoder("cifar10", 256, 256, 256),
        "ImageMLPAE_Cifar10_256x256x256_bs1024": _autoencoder("cifar10", 256, 256, 256, batch_size=1024),
        "ImageMLPAE_Cifar10_128x32x128_bs256": _autoencoder("cifar10", 128, 32, 128, batch_size=256),
        "ImageMLPAE_Mnist_128x32x128_bs128": _autoencoder("mnist", 128, 32, 128),
        "ImageMLPAE_FashionMnist_128x32x128_bs128": _autoencoder("fashion_mnist", 128, 32, 128),
    }
)
