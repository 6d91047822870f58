"""Bilinear resize without antialiasing, and the mean over channels, in exact integer arithmetic.

Resizing by a ratio of small integers weighs pixels by small fractions: from 28 to 8 pixels by sixteenths,
from 32 to 8 by quarters, and a mean over three channels by thirds. A resized image is therefore a whole
number of small steps between black and white, which 16 bits hold without rounding: exact, at half the memory
of float32.
"""

import functools
import math
from fractions import Fraction

import numpy as np

_CHUNK = 2048  # images resized at a time, so that the float64 copies stay at some ten megabytes


@functools.lru_cache(maxsize=4096)
def bilinear_weights(native: int, size: int) -> tuple[np.ndarray, int]:
    """Compute the weights of a bilinear resize of one axis, with half-pixel centres and no antialiasing.

    Output pixel i lies at `(i + 1/2) native / size - 1/2` between two input pixels; beyond the edge it is
    the edge pixel. This is `jax.image.resize(..., "bilinear", antialias=False)` and TensorFlow's
    `tf.image.resize`. Returns integer weights (size, native), as float64, and the integer their rows sum to.
    """
    positions = [Fraction((2 * i + 1) * native - size, 2 * size) for i in range(size)]
    unit = math.lcm(*(position.denominator for position in positions))
    weights = np.zeros((size, native))
    for i, position in enumerate(positions):
        left = math.floor(position)
        right_share = int((position - left) * unit)
        weights[i, min(max(left, 0), native - 1)] += unit - right_share
        weights[i, min(max(left + 1, 0), native - 1)] += right_share
    weights.setflags(write=False)  # the cache hands them to every caller
    return weights, unit


def exact_level(shape: tuple[int, int, int], size: int, channels: int, white: int) -> int:
    """Return the white level at which every resized and averaged pixel is a whole number."""
    height, width, native_channels = shape
    averaged = native_channels if channels < native_channels else 1
    return white * bilinear_weights(height, size)[1] * bilinear_weights(width, size)[1] * averaged


def stored_level(shape: tuple[int, int, int], size: int, channels: int, white: int) -> int:
    """Return the white level of the result of `resize`: the exact one, or 65535 if that is above 16 bits."""
    return min(exact_level(shape, size, channels, white), np.iinfo(np.uint16).max)


def stored_dtype(level: int) -> type[np.unsignedinteger]:
    """Return the smallest of uint8 and uint16 that holds the white level."""
    return np.uint8 if level <= np.iinfo(np.uint8).max else np.uint16


def resize(images: np.ndarray, size: int, channels: int, white: int) -> np.ndarray:
    """Resize images to squares, and average their channels to 1 or repeat one to 3.

    Images are unsigned integers (n, height, width, 1 or 3) from 0 to `white`. The result is uint8 or uint16
    (n, size, size, channels); a pixel in [0, 1] is `value / stored_level`. Exact while `exact_level` is at
    most 65535, otherwise rounded to the nearest 1/65535.
    """
    n, height, width, native_channels = images.shape
    shape = (height, width, native_channels)
    rows, columns = bilinear_weights(height, size)[0], bilinear_weights(width, size)[0]
    level = stored_level(shape, size, channels, white)
    ratio = level / exact_level(shape, size, channels, white)
    resized = np.empty((n, size, size, channels), stored_dtype(level))
    for start in range(0, n, _CHUNK):
        chunk = _weigh(images[start : start + _CHUNK], rows, columns, channels)
        resized[start : start + _CHUNK] = np.rint(chunk * ratio)
    return resized


def _weigh(images: np.ndarray, rows: np.ndarray, columns: np.ndarray, channels: int) -> np.ndarray:
    """Sum weighted pixels (n, height, width, c), and channels if there are too many; exact, in float64."""
    weighed = images.astype(np.float64)  # integers below 2**53: every product is exact
    if channels < weighed.shape[-1]:
        weighed = weighed.sum(axis=-1, keepdims=True)
    return np.moveaxis(rows @ np.moveaxis(weighed, -1, 1) @ columns.T, 1, -1)


def any_size_level(truncated: bool, white: int) -> int:
    """Return the white level of the results of `resize_one`."""
    return white if truncated else np.iinfo(np.uint16).max


def resize_one(image: np.ndarray, size: int, channels: int, white: int, truncated: bool) -> np.ndarray:
    """Resize one image (height, width, 1 or 3) of any size to a square (size, size, channels).

    A pixel in [0, 1] is `value / any_size_level`: truncated to a whole multiple of 1/white, in 8 bits, as in
    the files the reference made of ImageNet, or rounded to a multiple of 1/65535.
    """
    height, width, native_channels = image.shape
    exact = exact_level((height, width, native_channels), size, channels, white)
    rows, columns = bilinear_weights(height, size)[0], bilinear_weights(width, size)[0]
    weighed = _weigh(image[None], rows, columns, channels)[0]
    level = any_size_level(truncated, white)
    scaled = weighed * level  # whole numbers, still below 2**53
    resized = np.floor_divide(scaled, exact) if truncated else np.rint(scaled / exact)
    return np.broadcast_to(resized, (size, size, channels)).astype(stored_dtype(level))
