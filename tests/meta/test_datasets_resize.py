"""The integer resize against JAX's own."""

import jax
import numpy as np
import pytest

from celo.meta.data.resize import exact_level, resize, stored_level
from tests.meta.dataset_files import random_images


@pytest.mark.parametrize(
    ("shape", "size", "channels", "level"),
    [
        ((28, 28, 1), 8, 1, 255 * 16),  # sixteenths
        ((32, 32, 3), 8, 1, 255 * 4 * 3),  # quarters, and thirds for the mean over channels
        ((32, 32, 3), 8, 3, 255 * 4),
        ((28, 28, 1), 28, 1, 255),
        ((28, 28, 1), 8, 3, 255 * 16),
        ((28, 28, 1), 32, 1, 255 * 256),
        ((28, 28, 1), 13, 1, 65535),  # exact would need 255 * 26 * 26, above 16 bits
    ],
)
def test_resize_is_the_reference_pipeline(shape, size, channels, level):
    images = random_images(shape, 5, seed=3)
    resized = resize(images, size, channels, 255)
    assert stored_level(shape, size, channels, 255) == level
    assert resized.dtype == (np.uint8 if level == 255 else np.uint16)

    floats = jax.image.resize(
        images.astype(np.float32), (5, size, size, shape[2]), "bilinear", antialias=False
    )
    expected = np.asarray(floats) / np.float32(255)
    expected = expected.mean(axis=-1, keepdims=True) if channels < shape[2] else expected
    expected = np.broadcast_to(expected, (5, size, size, channels))
    rounding = 0.5 / level if exact_level(shape, size, channels, 255) > level else 0.0
    np.testing.assert_allclose(resized / level, expected, atol=2e-6 + rounding)
