"""Sampled autoencoders and variational autoencoders of images: perceptrons, the loss chosen in the graph."""

import math
from typing import Any, Self

import jax
import jax.numpy as jnp

from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Batch, Label, Loss, Params, pytree, static
from celo.meta.tasks.image_data import DeviceImages, ImageBatches
from celo.meta.tasks.layers import apply_mlp_by_rows, check_positive, init_mlp
from celo.meta.tasks.sampled import graph
from celo.meta.tasks.sampled.graph import Dynamic

BIN = 1 / 255  # width of the bins of an 8-bit image

_TINY = 1e-8
_CLIP = 10.0


@pytree
class SampledReconstruction(ImageBatches):
    """Base of the tasks that reconstruct images.

    Attributes:
        dynamic: scalars by name: those of `celo.meta.tasks.sampled.graph`, "center_data" and the subclass's.
        shape: height, width and channels of an image.
    """

    dynamic: Dynamic
    shape: tuple[int, int, int] = static()

    @classmethod
    def of(cls, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> Self:
        """Build the task on host images."""
        return cls(DeviceImages.of(data), dynamic, data.shape, label=Label(name), **config)

    def networks(self) -> dict[str, tuple[int, ...]]:
        """Widths of each perceptron by name, from inputs to outputs."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> tuple[Params, tuple[()]]:
        """Draw the parameters; there is no model state. Biases are zero."""
        params = {}
        for number, (name, widths) in enumerate(self.networks().items()):
            key_layers, key_kernels = jax.random.split(jax.random.fold_in(key, number))
            layers = init_mlp(key_layers, widths)
            params[name] = graph.initialize(key_kernels, layers, self.dynamic, ("",))
        return params, ()

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "image" (batch, features) in [0, 1]."""
        return {"image": self.data.gather(split, sample)["image"]}

    def apply(self, layers: Any, inputs: jax.Array) -> jax.Array:
        """Apply a perceptron with the activation of the graph, (batch, inputs) to (batch, outputs)."""
        return apply_mlp_by_rows(layers, inputs, graph.activation(self.dynamic["activation"]))

    def images(self, batch: Batch) -> jax.Array:
        """The images, mapped to [-1, 1] if "center_data" is set."""
        return jnp.where(self.dynamic["center_data"] == 1, 2 * batch["image"] - 1, batch["image"])


@pytree
class SampledAutoencoder(SampledReconstruction):
    """Reconstruct images by a perceptron under the squared error, or its logarithm.

    With e the squared error averaged over the rows of an image, the loss is the mean of e, or of
    ``ln(e + 1e-8)`` if "log_loss" is set. "center_data" maps images to [-1, 1]; "constrain_output" applies
    tanh to the outputs then, and sigmoid to those of images in [0, 1].

    Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C; learned_optimization.

    Attributes:
        hidden: widths of the hidden layers; () is a linear map.
    """

    hidden: tuple[int, ...] = static(default=(32,))

    loss_unit = "squared error, or its logarithm"

    def networks(self) -> dict[str, tuple[int, ...]]:
        """One perceptron."""
        return {"mlp": (self.data.features, *self.hidden, self.data.features)}

    def loss(self, params: Params, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the loss. The key is not used: nothing is random."""
        images = self.images(batch)
        outputs = self.apply(params["mlp"], images)
        bounded = jnp.where(self.dynamic["center_data"] == 1, jnp.tanh(outputs), jax.nn.sigmoid(outputs))
        outputs = jnp.where(self.dynamic["constrain_output"] == 1, bounded, outputs)
        errors = jnp.square(outputs - images).reshape(-1, *self.shape)
        by_row = jnp.mean(errors, axis=1)
        logarithm = jnp.mean(jnp.log(by_row + _TINY))
        return jnp.where(self.dynamic["log_loss"] == 1, logarithm, jnp.mean(by_row)), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Return ``0.5 clip(l, -12, 1) + 10`` with l the logarithmic loss; 1 where it is not finite."""
        logarithm = jnp.where(self.dynamic["log_loss"] == 1, loss, jnp.log(jnp.maximum(loss, 0.0) + _TINY))
        logarithm = jnp.where(jnp.isfinite(loss), logarithm, 1.0)
        return 0.5 * jnp.clip(logarithm, -12.0, 1.0) + 10.0


@pytree
class SampledVAE(SampledReconstruction):
    """Variational autoencoder of perceptrons: the negative evidence bound ``KL(q(z|x) | p(z)) - ln p(x|z)``.

    q is normal with mean and log-deviation from the encoder, p(z) standard normal, and z one sample of q. The
    decoder gives mean and log-deviation of every pixel, clipped to [-10, 10]; pixels are quantised normal:
    ``ln p(x|z) = ln N(x + u) + ln b`` with noise u uniform over one bin of width b = 1/255. The loss is the
    mean over images of the sum over pixels, divided by their number if "per_dim_loss" is set.

    Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C; learned_optimization.

    Attributes:
        encoder: widths of the hidden layers of the encoder.
        decoder: widths of the hidden layers of the decoder.
        latent: dimensions of z.
    """

    encoder: tuple[int, ...] = static(default=(32,))
    decoder: tuple[int, ...] = static(default=(32,))
    latent: int = static(default=8)

    loss_unit = "nats"

    def __post_init__(self):
        check_positive("latent", self.latent)

    def networks(self) -> dict[str, tuple[int, ...]]:
        """Encoder and decoder."""
        features = self.data.features
        return {
            "encoder": (features, *self.encoder, 2 * self.latent),
            "decoder": (self.latent, *self.decoder, 2 * features),
        }

    def loss(self, params: Params, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the negative evidence bound; aux holds its two parts in nats per image."""
        key_latent, key_bin = jax.random.split(key)
        images = self.images(batch)
        mean, log_deviation = jnp.split(self.apply(params["encoder"], images), 2, axis=-1)
        latent = mean + jnp.exp(log_deviation) * jax.random.normal(key_latent, mean.shape, mean.dtype)
        decoded = jnp.clip(self.apply(params["decoder"], latent), -_CLIP, _CLIP)
        noise = jax.random.uniform(key_bin, images.shape, images.dtype, -BIN / 2, BIN / 2)
        log_likelihood = quantised_normal(images + noise, *jnp.split(decoded, 2, axis=-1))
        divergence = jnp.sum(normal_divergence(mean, log_deviation), axis=-1)
        likelihood = jnp.sum(log_likelihood, axis=-1)
        bound = jnp.mean(divergence - likelihood)
        loss = jnp.where(self.dynamic["per_dim_loss"] == 1, bound / self.data.features, bound)
        parts = {"divergence": jnp.mean(divergence), "log_likelihood": jnp.mean(likelihood)}
        return loss, model_state, parts

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Return the loss per pixel, clipped to [0, 10]; 10 where it is not finite."""
        per_pixel = jnp.where(self.dynamic["per_dim_loss"] == 1, loss, loss / self.data.features)
        return jnp.clip(jnp.where(jnp.isfinite(loss), per_pixel, 10.0), 0.0, 10.0)


def quantised_normal(x: jax.Array, mean: jax.Array, log_deviation: jax.Array) -> jax.Array:
    """Return the log-probability of the bin of each x under a normal: its log-density at x plus ln(1/255)."""
    normal = (x - mean) * jnp.exp(-log_deviation)
    return -0.5 * jnp.square(normal) - log_deviation - 0.5 * math.log(2 * math.pi) + math.log(BIN)


def normal_divergence(mean: jax.Array, log_deviation: jax.Array) -> jax.Array:
    """Return the divergence of each normal from the standard normal, in nats."""
    return 0.5 * (jnp.square(mean) + jnp.exp(2 * log_deviation) - 1) - log_deviation
