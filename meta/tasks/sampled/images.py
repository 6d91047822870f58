"""Families of sampled tasks on images, with their published ranges."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Task
from celo.meta.tasks.convnet import ConvNet
from celo.meta.tasks.image_classifier import ImageClassifier
from celo.meta.tasks.image_data import ImageEntry
from celo.meta.tasks.image_mlp import ImageMLP
from celo.meta.tasks.sampled.distributions import Choice, Configuration, LogInt, Sometimes
from celo.meta.tasks.sampled.family import Family
from celo.meta.tasks.sampled.graph import Dynamic
from celo.meta.tasks.sampled.reconstruction import SampledAutoencoder, SampledVAE
from celo.meta.tasks.sampled.task import SampledTask

IMAGE_DATASETS = ("cifar100", "cifar10", "fashion_mnist", "imagenet2012", "mnist")

_KERNEL = ("activation", "initializer", "init_scale")
_COIN = Choice((False, True))
_DEPTH = Choice((0, 1, 2, 3, 4))


@dataclasses.dataclass(frozen=True)
class ImageFamily(Family):
    """Base of the families on images, whose entries are `ImageEntry`."""

    image_size: LogInt = LogInt(4, 32)
    batch_size: LogInt = LogInt(4, 512)
    dataset: Choice = Choice(IMAGE_DATASETS)

    def entry(self, configuration: Configuration, dynamic: Dynamic) -> ImageEntry:
        """Make the entry of a task; images have the channels of their dataset."""
        dataset, size = configuration["dataset"], configuration["image_size"]
        config = {"batch_size": configuration["batch_size"], "dynamic": dynamic, **self.model(configuration)}
        return ImageEntry("sampled", dataset, self.build, config, size, None)

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """The arguments of `build` that describe the model."""
        raise NotImplementedError

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> Task:
        """Build the task on its data."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ImageMLPFamily(ImageFamily):
    """Perceptrons of equal widths that classify images.

    One in five trains on a share of its training examples, uniform from 0 to 1.
    """

    hidden_size: LogInt = LogInt(8, 128)
    num_layers: Choice = _DEPTH
    data_fraction: Sometimes = Sometimes(0.2, 0.0, 1.0)

    shared = _KERNEL
    dynamic = ("data_fraction",)

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """Widths of the hidden layers."""
        return {"hidden": (configuration["hidden_size"],) * configuration["num_layers"]}

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> SampledTask:
        """Build the task; ImageNet is used whole, as published."""
        task = ImageMLP.of(data, **config)
        fraction = dynamic["data_fraction"]
        if data.name != "imagenet2012":
            task = _train_on(task, fraction)
        return SampledTask.of(task, dynamic, name, classes=data.num_classes)


@dataclasses.dataclass(frozen=True)
class ImageConvFamily(ImageFamily):
    """Convolutions of equal channels, the mean over pixels and a dense layer, which classify images."""

    hidden_size: LogInt = LogInt(4, 64)
    num_layers: Choice = Choice((0, 1, 2, 3))
    num_stride2_layers: Choice = Choice((0, 1, 2))

    shared = _KERNEL

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """The network; the number of classes is set to that of the data."""
        channels = (configuration["hidden_size"],) * configuration["num_layers"]
        return {"network": ConvNet(channels, downsampled=configuration["num_stride2_layers"])}

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> SampledTask:
        """Build the task; the initialiser is that of the convolutions alone."""
        task = ImageClassifier.of(data, **config)
        return SampledTask.of(task, dynamic, name, layers=("conv",), classes=data.num_classes)


@dataclasses.dataclass(frozen=True)
class ImageAutoencoderFamily(ImageFamily):
    """Perceptrons of equal widths that reconstruct images, see `SampledAutoencoder`."""

    hidden_size: LogInt = LogInt(8, 128)
    num_layers: Choice = _DEPTH
    log_loss: Choice = _COIN
    center_data: Choice = _COIN
    constrain_output: Choice = _COIN

    shared = _KERNEL
    dynamic = ("log_loss", "center_data", "constrain_output")

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """Widths of the hidden layers."""
        return {"hidden": (configuration["hidden_size"],) * configuration["num_layers"]}

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> SampledAutoencoder:
        """Build the task on its data."""
        return SampledAutoencoder.of(data, name, dynamic, **config)


@dataclasses.dataclass(frozen=True)
class ImageVAEFamily(ImageFamily):
    """Variational autoencoders of perceptrons, see `SampledVAE`."""

    enc_hidden_size: LogInt = LogInt(4, 128)
    dec_hidden_size: LogInt = LogInt(4, 128)
    enc_num_layers: Choice = _DEPTH
    dec_num_layers: Choice = _DEPTH
    n_z: LogInt = LogInt(2, 128)
    center_data: Choice = _COIN
    per_dim_loss: Choice = _COIN

    shared = _KERNEL
    dynamic = ("center_data", "per_dim_loss")

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """Widths of both perceptrons and of the latent variable."""
        encoder, decoder = (
            (configuration[f"{part}_hidden_size"],) * configuration[f"{part}_num_layers"]
            for part in ("enc", "dec")
        )
        return {"encoder": encoder, "decoder": decoder, "latent": configuration["n_z"]}

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> SampledVAE:
        """Build the task on its data."""
        return SampledVAE.of(data, name, dynamic, **config)


def _train_on(task: ImageMLP, fraction: Any) -> ImageMLP:
    """The task on the first share of its training examples, which lie in random order; at least one."""
    splits = task.data.splits
    size = jnp.maximum(1, (fraction * splits["train"].size.astype(jnp.float32)).astype(jnp.int32))
    train = dataclasses.replace(splits["train"], size=size)
    data = dataclasses.replace(task.data, splits={**splits, "train": train})
    return dataclasses.replace(task, data=data)
