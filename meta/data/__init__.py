"""Datasets by name: embedded, from a local folder, or from the hub; decoded once and kept as .npy files."""

from celo.meta.data.catalog import IMAGE_DATASETS, TEXT_DATASETS
from celo.meta.data.documents import DocumentData, load_documents
from celo.meta.data.errors import DatasetFormatError, DatasetNotFoundError
from celo.meta.data.images import ImageData, ImageSplit, load_images
from celo.meta.data.splits import SPLITS
from celo.meta.data.subwords import LearnedSubwords, PublishedSubwords
from celo.meta.data.text import TextData, load_text
from celo.meta.data.tokenizers import PAD, ByteTokenizer, Tokenizer

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
