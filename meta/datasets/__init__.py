"""Datasets by name: embedded, from a local folder, or from the hub; decoded once and kept as .npy files."""

from meta.datasets.catalog import IMAGE_DATASETS, TEXT_DATASETS
from meta.datasets.errors import DatasetFormatError, DatasetNotFoundError
from meta.datasets.images import ImageData, ImageSplit, load_images
from meta.datasets.splits import SPLITS

__all__ = [
    "IMAGE_DATASETS",
    "SPLITS",
    "TEXT_DATASETS",
    "DatasetFormatError",
    "DatasetNotFoundError",
    "ImageData",
    "ImageSplit",
    "load_images",
]
