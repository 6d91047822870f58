"""Datasets by name: embedded, from a local folder, or from the hub; decoded once and kept as .npy files."""

from meta.datasets.catalog import IMAGE_DATASETS, TEXT_DATASETS
from meta.datasets.documents import DocumentData, load_documents
from meta.datasets.errors import DatasetFormatError, DatasetNotFoundError
from meta.datasets.images import ImageData, ImageSplit, load_images
from meta.datasets.splits import SPLITS
from meta.datasets.subwords import LearnedSubwords, PublishedSubwords
from meta.datasets.text import TextData, load_text
from meta.datasets.tokenizers import PAD, ByteTokenizer, Tokenizer

__all__ = [
    "IMAGE_DATASETS",
    "PAD",
    "SPLITS",
    "TEXT_DATASETS",
    "ByteTokenizer",
    "DatasetFormatError",
    "DatasetNotFoundError",
    "DocumentData",
    "ImageData",
    "ImageSplit",
    "LearnedSubwords",
    "PublishedSubwords",
    "TextData",
    "Tokenizer",
    "load_documents",
    "load_images",
    "load_text",
]
