"""Datasets by name: embedded, from a local folder, or from the hub; decoded once and kept as .npy files."""

from celo.meta.data.catalog import IMAGE_DATASETS, SPLITS, TEXT_DATASETS
from celo.meta.data.errors import DatasetFormatError, DatasetNotFoundError
from celo.meta.data.images import ImageData, ImageSplit, load_images
from celo.meta.data.text import TextData, load_documents, load_text
from celo.meta.data.tokenizers import PAD, ByteTokenizer, LearnedSubwords, PublishedSubwords, Tokenizer

__all__ = [
    "IMAGE_DATASETS",
    "PAD",
    "SPLITS",
    "TEXT_DATASETS",
    "ByteTokenizer",
    "DatasetFormatError",
    "DatasetNotFoundError",
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
