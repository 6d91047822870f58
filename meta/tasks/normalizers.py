"""How the published image tasks bring a loss into the range of the meta-objective, by name.

With C classes and the loss L, "clip" is `clip(L, 0, 1.5 ln C)`; "clip_finite" is the same, and `1.5 ln C` for
NaN; "tenfold" is `10 min(L, 1)` and "relative" is `clip(10 L / ln 2C, 0, 10)`, both 10 where L is not finite;
"none" is L. "clip" and "none" let NaN through, as published.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp

from celo.meta.tasks.layers import clip_loss, uniform_guess_ceiling


def _clip(loss: jax.Array, num_classes: int) -> jax.Array:
    return jnp.clip(loss, 0.0, uniform_guess_ceiling(num_classes))


def _clip_finite(loss: jax.Array, num_classes: int) -> jax.Array:
    return clip_loss(loss, uniform_guess_ceiling(num_classes))


def _tenfold(loss: jax.Array, num_classes: int) -> jax.Array:
    del num_classes
    return 10.0 * jnp.minimum(jnp.where(jnp.isfinite(loss), loss, 1.0), 1.0)


def _relative(loss: jax.Array, num_classes: int) -> jax.Array:
    unit = math.log(2 * num_classes)
    return jnp.clip(10.0 * jnp.where(jnp.isfinite(loss), loss, unit) / unit, 0.0, 10.0)


def _none(loss: jax.Array, num_classes: int) -> jax.Array:
    del num_classes
    return loss


NORMALIZERS: Mapping[str, Callable[[jax.Array, int], jax.Array]] = MappingProxyType(
    {
        "clip": _clip,
        "clip_finite": _clip_finite,
        "tenfold": _tenfold,
        "relative": _relative,
        "none": _none,
    }
)
