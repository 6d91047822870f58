"""Image classification with any network."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo._core.names import unknown_name
from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Batch, Label, Loss, ModelState, Params, pytree, static
from celo.meta.tasks.image_data import DeviceImages, ImageBatches, ImageEntry
from celo.meta.tasks.layers import check_positive, clip_loss, cross_entropy, uniform_guess_ceiling


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(cross_entropy(logits, labels, axis=-1))


def _squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(logits - jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)))


LOSSES: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {"cross_entropy": _cross_entropy, "squared_error": _squared_error}
)
"""Name to loss of logits (batch, classes) and labels (batch,).

"cross_entropy" is the mean cross-entropy in nats; "squared_error" is the mean over batch and classes of the
squared difference from 1 for the label's class, from 0 for the others.
"""

_UNITS = {"cross_entropy": "nats", "squared_error": "mean squared error"}


def _tenfold(loss: jax.Array, num_classes: int) -> jax.Array:
    del num_classes
    return 10.0 * jnp.minimum(jnp.where(jnp.isfinite(loss), loss, 1.0), 1.0)


def _relative(loss: jax.Array, num_classes: int) -> jax.Array:
    unit = math.log(2 * num_classes)
    return jnp.clip(10.0 * jnp.where(jnp.isfinite(loss), loss, unit) / unit, 0.0, 10.0)


NORMALIZERS: Mapping[str, Callable[[jax.Array, int], jax.Array]] = MappingProxyType(
    {
        "clip": lambda loss, classes: jnp.clip(loss, 0.0, uniform_guess_ceiling(classes)),
        "clip_finite": lambda loss, classes: clip_loss(loss, uniform_guess_ceiling(classes)),
        "tenfold": _tenfold,
        "relative": _relative,
        "none": lambda loss, classes: loss,
    }
)
"""How the published image tasks bring a loss into the range of the meta-objective, by name.

With C classes and the loss L, "clip" is `clip(L, 0, 1.5 ln C)`; "clip_finite" is the same, and `1.5 ln C` for
NaN; "tenfold" is `10 min(L, 1)` and "relative" is `clip(10 L / ln 2C, 0, 10)`, both 10 where L is not finite;
"none" is L. "clip" and "none" let NaN through, as published.
"""


@pytree
class ImageClassifier(ImageBatches):
    """Classify images by a network given as a flax module.

    Norms and dropout are in training mode in every split, as in the reference.

    Source of the tasks built with it: learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        network: maps images (batch, height, width, channels) to logits (batch, num_classes); hashable.
        shape: height, width and channels of an image.
        objective: a name in `LOSSES`.
        normalization: a name in `NORMALIZERS`.

    Example:
        >>> from celo.meta.data import load_images
        >>> from celo.meta.tasks.convnet import ConvNet
        >>> task = ImageClassifier.of(load_images("digits"), ConvNet(channels=(4, 8), norm="batch_norm"))
        >>> params, state = task.init(jax.random.key(0))
        >>> sorted(state["batch_stats"]["norm_0"])
        ['mean', 'var']
    """

    network: nn.Module = static()
    shape: tuple[int, int, int] = static()
    objective: str = static(default="cross_entropy")
    normalization: str = static(default="clip_finite")

    def __post_init__(self):
        check_positive("batch_size", self.batch_size)
        if self.objective not in LOSSES:
            raise unknown_name("objective", self.objective, LOSSES)
        if self.normalization not in NORMALIZERS:
            raise unknown_name("normalization", self.normalization, NORMALIZERS)
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes!r}")

    @classmethod
    def of(cls, data: ImageData, network: nn.Module, name: str | None = None, **config: Any) -> Self:
        """Build the task on host images; the network's field `num_classes` is set to that of the data."""
        network = network.clone(num_classes=data.num_classes)
        task = cls(DeviceImages.of(data), network, data.shape, **config)
        made = f"{type(network).__name__}_{data.name}_{'x'.join(map(str, data.shape))}_bs{task.batch_size}"
        return dataclasses.replace(task, label=Label(name or made))

    @property
    def loss_unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unit of the objective."""
        return _UNITS[self.objective]

    @property
    def num_classes(self) -> int:
        """Number of classes C; the loss of a uniform guess is ln C."""
        return getattr(self.network, "num_classes")  # noqa: B009  # a field of every module given to `of`

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the parameters; the model state is the collections of the network that are not trained."""
        keys: Any = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        variables = dict(self.network.init(keys, jnp.zeros((1, *self.shape), jnp.float32)))
        params = variables.pop("params")
        return params, variables or ()

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean loss; aux holds the accuracy. The key is for dropout."""
        images = batch["image"].reshape(-1, *self.shape)
        variables = {"params": params, **(model_state or {})}
        logits, new_state = self.network.apply(
            variables, images, rngs={"dropout": key}, mutable=list(model_state)
        )
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
        loss = LOSSES[self.objective](logits, batch["label"])
        return loss, dict(new_state) or (), {"accuracy": accuracy}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Map a loss to the range of the meta-objective, see `NORMALIZERS`."""
        return NORMALIZERS[self.normalization](loss, self.num_classes)


def classifier(
    family: str, dataset: str, size: int | None, network: nn.Module, batch_size: int = 128, **config: Any
) -> ImageEntry:
    """Make the row of an `ImageClassifier` on colour images, of the dataset's own size for None."""
    config = {"network": network, "batch_size": batch_size, **config}
    return ImageEntry(family, dataset, ImageClassifier.of, config, size, 3)
