"""Small image-classification datasets as host arrays, cut into the four splits."""

import dataclasses
import io
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from celo._core.names import lookup
from celo.meta.data.cache import Arrays, Cache, cache_folder, load_arrays
from celo.meta.data.catalog import IMAGE_DATASETS, ImageSpec, split_indices
from celo.meta.data.errors import DatasetFormatError, reading
from celo.meta.data.resize import any_size_level, resize, resize_one, stored_dtype, stored_level
from celo.meta.data.source import Rows, Source, import_extra, not_found

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class ImageSplit(NamedTuple):
    """The examples of one split.

    Attributes:
        images: uint8 or uint16 of shape (n, height, width, channels), from 0 to the level of the dataset.
        labels: int32 of shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class ImageData:
    """An image-classification dataset in host memory.

    Attributes:
        name: short name of the dataset.
        splits: examples of "train", "inner_valid", "outer_valid" and "test".
        num_classes: labels are 0 .. num_classes - 1.
        level: a pixel is `value / level`, in [0, 1].
    """

    name: str
    splits: Mapping[str, ImageSplit]
    num_classes: int
    level: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.splits["train"].images.shape[1:]
        return height, width, channels


def load_images(
    name: str,
    size: int | None = 8,
    channels: int | None = 1,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    upstream_1_percent: bool = False,
) -> ImageData:
    """Load an image dataset, resized.

    Images are resized bilinearly without antialiasing, scaled to [0, 1] and averaged over channels, as in the
    reference implementation, which keeps float32. Here a pixel is a whole number of steps of `1 / level`,
    held in 8 or 16 bits: the same numbers (8x8 from 28x28 or 32x32: exactly), in half the memory or less,
    and faster to gather.

    Args:
        name: digits, mnist, fashion_mnist, svhn, cifar10, cifar100, food101 or imagenet2012.
        size: height and width in pixels, or None for the dataset's own; images of food101 and imagenet2012
            have any size.
        channels: 1 (mean over channels), 3 (a grey image is repeated), or None for the dataset's own.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for decoded arrays; default the variable CELO_CACHE, else ~/.cache/celo.
        upstream_1_percent: train on 1% of the train file instead of 80%, as the reference implementation
            does by mistake for svhn, cifar100 and food101; only for those.

    Returns:
        The dataset with its four splits: 80%, 10% and 10% of the shuffled train file, and the test file.

    Raises:
        ValueError: an unknown name, a size below 1, channels other than 1 and 3, or `upstream_1_percent` for
            another set.
        DatasetNotFoundError: no place has the dataset.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.

    Example:
        >>> load_images("digits").splits["train"].images.shape
        (1294, 8, 8, 1)
    """
    spec = lookup("image dataset", name, IMAGE_DATASETS)
    size, channels = _check_shape(spec, size, channels)
    if upstream_1_percent and not spec.upstream_1_percent:
        cut = [other.name for other in IMAGE_DATASETS.values() if other.upstream_1_percent]
        raise ValueError(
            f"upstream_1_percent is for {', '.join(cut)}, whose train split upstream cuts; got {name!r}"
        )

    def check(arrays: Mapping[str, np.ndarray]) -> None:
        _check_arrays(spec, size, channels, arrays)

    def build(source: Source) -> Arrays:
        return _build(spec, size, channels, source)

    cache = Cache(cache_folder(cache_dir), f"{name}-{size}x{size}x{channels}", _ARRAYS, check)
    arrays = load_arrays(spec, cache, build, _DigitsSource() if name == "digits" else None, data_dir)
    level = _level(spec, size, channels)
    return ImageData(name, _cut(arrays, 1 if upstream_1_percent else 80), spec.num_classes, level)


def _check_shape(spec: ImageSpec, size: int | None, channels: int | None) -> tuple[int, int]:
    """Return size and channels with the dataset's own for None, or raise ValueError."""
    if size is None and spec.any_size:
        raise ValueError(f"images of {spec.name} have any size: give a size in pixels, got None")
    size = spec.shape[0] if size is None else size
    channels = spec.shape[2] if channels is None else channels
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of pixels of at least 1, or None, got {size!r}")
    if isinstance(channels, bool) or channels not in (1, 3):
        raise ValueError(f"channels must be 1, 3 or None, got {channels!r}")
    return size, channels


def _level(spec: ImageSpec, size: int, channels: int) -> int:
    """Return the white level of the arrays of a variant."""
    if spec.any_size:
        return any_size_level(spec.truncated, spec.white)
    return stored_level(spec.shape, size, channels, spec.white)


def _build(spec: ImageSpec, size: int, channels: int, source: Source) -> Arrays:
    """Decode and resize both files of a source."""
    arrays: Arrays = {}
    for split in ("train", "test"):
        images, labels = _decode(spec, size, channels, split, source.rows(split))
        if not spec.any_size:
            images = resize(images, size, channels, spec.white)
        arrays[f"{split}_images"] = images
        arrays[f"{split}_labels"] = labels
    return arrays


def _decode(
    spec: ImageSpec, size: int, channels: int, split: str, rows: Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the rows of a file, and resize images of any size."""
    images, labels = [], []
    for batch_images, batch_labels in rows:
        for image in batch_images:
            image = _decode_image(spec, f"{spec.name} {split} row {len(images)}", image)
            if spec.any_size:
                image = resize_one(image, size, channels, spec.white, spec.truncated)
            images.append(image)
        labels.extend(batch_labels)
    for row, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < spec.num_classes:
            raise DatasetFormatError(
                f"{spec.name} {split} row {row}: the label must be 0 .. {spec.num_classes - 1}, got {label!r}"
            )
    shape = (size, size, channels) if spec.any_size else spec.shape
    dtype = stored_dtype(_level(spec, size, channels)) if spec.any_size else np.uint8
    return np.reshape(np.asarray(images, dtype), (-1, *shape)), np.asarray(labels, np.int32)


def _decode_image(spec: ImageSpec, where: str, image: Any) -> np.ndarray:
    """Decode one value of an image column: an array, or the hub's struct with the bytes of a file."""
    if not isinstance(image, np.ndarray):
        if not isinstance(image, Mapping) or not isinstance(image.get("bytes"), bytes):
            raise DatasetFormatError(
                f"{where}: expected a struct with the bytes of an image, got {image!r:.80}"
            )
        pillow = import_extra("PIL.Image", f"decoding {spec.name}")
        with (
            reading(f"{where}: the value", "a readable image"),
            warnings.catch_warnings(),
        ):
            # Pillow warns of an image that may fill the memory, and raises at twice that size.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(io.BytesIO(image["bytes"])) as file:
                _check_size(spec, where, file.size[::-1])  # before a pixel is decoded
                image = np.asarray(file.convert("RGB" if spec.shape[2] == 3 else "L"))
    if spec.any_size:
        return image
    _check_size(spec, where, image.shape[:2])
    return image.reshape(spec.shape)


def _check_size(spec: ImageSpec, where: str, size: tuple[int, ...]) -> None:
    if not spec.any_size and size != spec.shape[:2]:
        raise DatasetFormatError(f"{where}: expected {spec.shape[:2]} pixels, got {size}")


def _check_arrays(spec: ImageSpec, size: int, channels: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless arrays have the dtypes, shapes and range of labels of this variant."""
    level = _level(spec, size, channels)
    dtype = np.dtype(stored_dtype(level))
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        expected = (len(labels), size, size, channels)
        if images.shape != expected or images.dtype != dtype:
            raise ValueError(f"{split} images are {images.dtype}{images.shape}, expected {dtype}{expected}")
        if images.size and images.max() > level:
            raise ValueError(f"{split} images reach {images.max()}, above their white level {level}")
        if labels.ndim != 1 or labels.dtype != np.int32:
            raise ValueError(f"{split} labels are {labels.dtype}{labels.shape}, expected int32 of one axis")
        if labels.size and not 0 <= labels.min() <= labels.max() < spec.num_classes:
            raise ValueError(
                f"{split} labels run from {labels.min()} to {labels.max()}, of {spec.num_classes} classes"
            )


def _cut(arrays: Mapping[str, np.ndarray], percent: int) -> dict[str, ImageSplit]:
    """Copy the rows of each split out of the (memory-mapped) train and test arrays."""
    num_test = len(arrays["test_labels"])
    splits = {}
    for split, rows in split_indices(len(arrays["train_labels"]), num_test, percent).items():
        file = "test" if split == "test" and num_test else "train"
        splits[split] = ImageSplit(arrays[f"{file}_images"][rows], arrays[f"{file}_labels"][rows])
    return splits


class _DigitsSource:
    """scikit-learn's 8x8 digits: 1,797 images, no test file."""

    fingerprint = "embedded"

    def rows(self, split: str) -> Rows:
        """Yield the train rows; there are no others."""
        if split == "train":
            try:
                digits = import_extra("sklearn.datasets", "loading 'digits'").load_digits()
            except ImportError as error:
                raise not_found(IMAGE_DATASETS["digits"], None, "it cannot be imported") from error
            yield list(digits.images.astype(np.uint8)), digits.target.tolist()
