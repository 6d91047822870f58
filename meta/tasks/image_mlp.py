"""Perceptrons that classify images, the tasks Celo is meta-trained on among them."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.data.images import ImageData
from celo.meta.tasks import networks
from celo.meta.tasks.base import Batch, Label, Loss, pytree, static
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_classifier import ImageClassifier, classifier
from celo.meta.tasks.image_data import DeviceImages, ImageBatches, ImageEntry
from celo.meta.tasks.layers import (
    ACTIVATIONS,
    Activation,
    Layers,
    apply_mlp,
    check_perceptron,
    clip_loss,
    cross_entropy,
    init_mlp,
    uniform_guess_ceiling,
)


@pytree
class ImageMLP(ImageBatches):
    """Classify images by a perceptron under the mean softmax cross-entropy, in nats.

    Source: Moudgil et al. 2025 (arXiv 2501.12670), sections 5.2 and A.7: four such families,
    64-32-10, batch 64.

    Attributes:
        num_classes: number of classes C; the loss of a uniform guess is ln C.
        hidden: widths of the hidden layers.
        activation: name of the activation between layers, or a function.

    Example:
        >>> from celo.meta.data import load_images
        >>> key = jax.random.key(0)
        >>> task = ImageMLP.of(load_images("digits"))
        >>> params, state = task.init(key)
        >>> loss, state, aux = task.loss(params, state, key, task.batch(key, "train"))
        >>> aux["accuracy"].shape
        ()
    """

    num_classes: int = static()
    hidden: tuple[int, ...] = static(default=(32,))
    activation: Activation = static(default="relu")
    batch_size: int = static(default=64, kw_only=True)

    loss_unit = "nats"

    def __post_init__(self):
        check_perceptron(self.hidden, self.activation, self.batch_size)
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes!r}")

    @classmethod
    def of(cls, data: ImageData, name: str | None = None, **config: Any) -> Self:
        """Build the task on host images; by default the name is made of the data and the `config`."""
        task = cls(DeviceImages.of(data), data.num_classes, **config)
        made = task.describe("ImageMLP", data)
        return dataclasses.replace(task, label=Label(name or made))

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        return init_mlp(key, (self.data.features, *self.hidden, self.num_classes)), ()

    def loss(self, params: Layers, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean cross-entropy; aux holds the accuracy. The key is not used: nothing is random."""
        logits = apply_mlp(params, batch["image"], self.activation)
        accuracy = jnp.mean(jnp.argmax(logits, axis=0) == batch["label"])
        loss = jnp.mean(cross_entropy(logits, batch["label"], axis=0))
        return loss, model_state, {"accuracy": accuracy}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, 1.5 ln C]; NaN becomes 1.5 ln C."""
        return clip_loss(loss, uniform_guess_ceiling(self.num_classes))


class Perceptron(nn.Module):
    """Classify flattened images: per hidden layer dense, norm, dropout, activation; then dense.

    The perceptron without norm and dropout has a faster form, `celo.meta.tasks.ImageMLP`.

    Attributes:
        hidden: widths of the hidden layers.
        activation: a name in `celo.meta.tasks.layers.ACTIVATIONS`.
        norm: "batch_norm", "layer_norm" or None.
        dropout: share of units set to zero, also in evaluation.
        num_classes: number of outputs.
    """

    hidden: tuple[int, ...]
    activation: str = "relu"
    norm: str | None = None
    dropout: float = 0.0
    num_classes: int = 10

    def __post_init__(self) -> None:
        networks.check_network(self.activation, self.norm)
        networks.check_sizes(hidden=self.hidden, num_classes=self.num_classes)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = images.reshape(len(images), -1)
        for i, width in enumerate(self.hidden):
            x = networks.dense(width, f"linear_{i}")(x)
            if self.norm is not None:
                x = networks.norm(self.norm, f"norm_{i}")(x)
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=False)(x)
            x = ACTIVATIONS[self.activation](x)
        return networks.dense(self.num_classes, f"linear_{len(self.hidden)}")(x)


def _mlp(dataset: str, size: int | None, channels: int | None, *hidden: int, **config: Any) -> ImageEntry:
    config = {"batch_size": 128, **config}
    return ImageEntry("image_mlp", dataset, ImageMLP.of, {"hidden": hidden, **config}, size, channels)


def _cifar10(*hidden: int, **config: Any) -> ImageEntry:
    return _mlp("cifar10", None, None, *hidden, **config)


def _variant(*hidden: int, mse: bool = False, **network: Any) -> ImageEntry:
    config: dict[str, Any] = {"objective": "squared_error", "normalization": "tenfold"} if mse else {}
    return classifier("image_mlp", "cifar10", None, Perceptron(hidden, **network), **config)


def _layer_norm(dataset: str, size: int, channels: int, *hidden: int) -> ImageEntry:
    config = {"network": Perceptron(hidden, norm="layer_norm"), "batch_size": 64}
    return ImageEntry("image_mlp", dataset, ImageClassifier.of, config, size, channels)


# The four families of the Celo paper, sections 5.2 and A.7.
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
    "ImageMLP_Mnist8_Relu32x32x32_bs64": _mlp("mnist", 8, 1, 32, 32, 32, batch_size=64),
    "ImageMLP_Cifar10BW8_Tanh32x32_bs64": _mlp("cifar10", 8, 1, 32, 32, activation="tanh", batch_size=64),
    "ImageMLP_FashionMnist8_LayerNorm_Relu32x32_bs64": _layer_norm("fashion_mnist", 8, 1, 32, 32),
    "ImageMLP_Mnist_Relu128x128": _mlp("mnist", None, None, 128, 128),
    "ImageMLP_FashionMnist16_Tanh64x64_bs64": _mlp(
        "fashion_mnist", 16, 1, 64, 64, activation="tanh", batch_size=64
    ),
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

# The perceptrons with norms, dropout or another loss; all on CIFAR-10 with batches of 128.
_VARIANTS = {
    "ImageMLP_Cifar10_128x128x128_Relu_MSE": _variant(128, 128, 128, mse=True),
    **{
        f"ImageMLP_Cifar10_128x128_Dropout0{tenths}_Relu_MSE": _variant(
            128, 128, mse=True, dropout=tenths / 10
        )
        for tenths in (2, 5, 8)
    },
    **{
        f"ImageMLP_Cifar10_128x128x128_{title}_{activation.title()}": _variant(
            128, 128, 128, norm=norm, activation=activation
        )
        for title, norm in (("LayerNorm", "layer_norm"), ("BatchNorm", "batch_norm"))
        for activation in ("relu", "tanh")
    },
}

IMAGE_MLP_TASKS: dict[str, Entry] = {**_OURS, **_PUBLISHED, **_VARIANTS}
