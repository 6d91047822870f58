"""The facts about every dataset: its place on the hub, its columns, its shape, and how it is split.

Sizes and columns are those of the repositories on the Hugging Face hub; a folder laid out like a snapshot of
the hub is read with the same entries.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

SPLITS = ("train", "inner_valid", "outer_valid", "test")

SHUFFLE_SEED = 0  # part of the definition of the splits: some files are sorted by class


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset.

    Attributes:
        name: short name used everywhere in this project.
        repository: repository on the hub, or None for a set embedded in a dependency.
        config: configuration of the repository; also the sub-folder of a snapshot. None when it has only one.
        columns: the columns read: image and label, or text.
        revision: revision of the repository read from the hub.
        train_file: name of the files that serve as the train file: `<train_file>-*.parquet`.
        test_file: likewise the test file, or None where there is none.
        folder: sub-folder of a snapshot that holds the files, where it is not `config`.
        advice: what to do instead when the dataset is missing; ends the error message.
    """

    name: str
    repository: str | None = None
    config: str | None = None
    columns: tuple[str, ...] = ()
    revision: str = "main"
    train_file: str = "train"
    test_file: str | None = "test"
    folder: str | None = None
    advice: str = ""

    def file(self, split: str) -> str | None:
        """Return the name of the files of "train" or "test", or None if there are none."""
        return {"train": self.train_file, "test": self.test_file}[split]

    @property
    def snapshot(self) -> str:
        """Folder of the files in a data folder: `<repository>/<folder or config>`."""
        return "/".join(filter(None, (self.repository, self.folder or self.config)))


@dataclasses.dataclass(frozen=True)
class ImageSpec(DatasetSpec):
    """An image-classification dataset.

    Attributes:
        shape: height, width and channels of every image, in pixels; a height and width of 0 are images of
            any size, which are always resized.
        num_classes: number of labels; labels are 0 .. num_classes - 1.
        white: the pixel value that means 1.0.
        truncated: for images of any size: whether resized pixels are truncated to 8 bits, as in the files the
            reference implementation made of ImageNet; else they are rounded to 16.
        upstream_1_percent: whether the reference implementation reads only 1% of its train split.
    """

    columns: tuple[str, ...] = ("image", "label")
    shape: tuple[int, int, int] = (28, 28, 1)
    num_classes: int = 10
    white: int = 255
    truncated: bool = False
    upstream_1_percent: bool = False

    @property
    def any_size(self) -> bool:
        """Whether images differ in height and width, so that they are always resized."""
        return self.shape[0] == 0


@dataclasses.dataclass(frozen=True)
class TextSpec(DatasetSpec):
    """A text dataset: the rows of its one column, joined, are the corpus.

    Attributes:
        lines: whether the documents are the lines of the rows, rather than the rows.
        held_out_percent: percent of the train file in each of the splits made of it, train excepted, when it
            is read by documents.
    """

    columns: tuple[str, ...] = ("text",)
    lines: bool = False
    held_out_percent: int = 10


_COLOUR: dict[str, Any] = {"shape": (32, 32, 3)}
_SLIP: dict[str, Any] = {"upstream_1_percent": True}
_PHOTOS: dict[str, Any] = {"test_file": "validation", "folder": "data", "shape": (0, 0, 3)}

_IMAGES = (
    ImageSpec("digits", columns=(), shape=(8, 8, 1), white=16),
    ImageSpec("mnist", "ylecun/mnist", "mnist"),
    ImageSpec("fashion_mnist", "zalando-datasets/fashion_mnist", "fashion_mnist"),
    ImageSpec("cifar10", "uoft-cs/cifar10", "plain_text", ("img", "label"), **_COLOUR),
    ImageSpec("svhn", "ufldl-stanford/svhn", "cropped_digits", **_COLOUR, **_SLIP),
    ImageSpec(
        "cifar100", "uoft-cs/cifar100", "cifar100", ("img", "fine_label"), num_classes=100, **_COLOUR, **_SLIP
    ),
    ImageSpec("food101", "ethz/food101", num_classes=101, **_PHOTOS, **_SLIP),
    # The labels of the test split are not public. The hub asks for consent to ImageNet's terms.
    ImageSpec("imagenet2012", "ILSVRC/imagenet-1k", num_classes=1000, truncated=True, **_PHOTOS),
)

_ANOTHER_CORPUS = "Language models can be given another corpus, by lm_corpus"
# The main branches of these repositories hold a loading script, which `datasets` no longer runs.
_PARQUET: dict[str, Any] = {"revision": "refs/convert/parquet"}

_TEXTS = (
    TextSpec("pydoc", columns=(), lines=True),
    TextSpec("tiny_shakespeare", "karpathy/tiny_shakespeare", lines=True, **_PARQUET),
    TextSpec(
        "wikitext2",
        "Salesforce/wikitext",
        "wikitext-2-v1",
        advice="wikitext2_valid reads the validation file instead of the train file",
    ),
    # The small validation file serves as the train file where that one is absent.
    TextSpec("wikitext2_valid", "Salesforce/wikitext", "wikitext-2-v1", train_file="validation"),
    TextSpec("wikitext103", "Salesforce/wikitext", "wikitext-103-v1"),
    TextSpec("lm1b", "billion-word-benchmark/lm1b", held_out_percent=1, advice=_ANOTHER_CORPUS, **_PARQUET),
    TextSpec(  # the main branch also has files of a later dump
        "wikipedia20201201",
        "wikipedia",
        "20201201.en",
        test_file=None,
        held_out_percent=1,
        advice=f"{_ANOTHER_CORPUS}; wikipedia20231101 is a later dump",
        **_PARQUET,
    ),
    TextSpec("wikipedia20231101", "wikimedia/wikipedia", "20231101.en", test_file=None, held_out_percent=1),
)

IMAGE_DATASETS: Mapping[str, ImageSpec] = MappingProxyType({spec.name: spec for spec in _IMAGES})
TEXT_DATASETS: Mapping[str, TextSpec] = MappingProxyType({spec.name: spec for spec in _TEXTS})


def check_split(split: str) -> str:
    """Return `split` if it is one of `SPLITS`, else raise a ValueError."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split


def train_boundaries(n: int, percent: int = 80) -> dict[str, tuple[int, int]]:
    """Cut n training examples into 80% train, 10% inner validation and 10% outer validation.

    With ``percent`` below 80 the rest of the first 80% is left out. Returns for each of the three splits the
    first example and the one after the last. ValueError if a split would be empty.
    """
    eighty, ninety = n * 80 // 100, n * 90 // 100
    cuts = {"train": (0, n * percent // 100), "inner_valid": (eighty, ninety), "outer_valid": (ninety, n)}
    for split, (start, stop) in cuts.items():
        if start >= stop:
            raise ValueError(f"{n} training examples are too few: the split {split!r} would be empty")
    return cuts


def split_indices(num_train: int, num_test: int, percent: int = 80) -> dict[str, np.ndarray]:
    """Draw the row numbers of each split: the train file is shuffled by a fixed seed and cut.

    Without a test file (``num_test`` is 0) the last tenth of the shuffled train file is the test split and
    the rest is cut likewise; otherwise "test" counts in the test file.
    """
    order = np.random.default_rng(SHUFFLE_SEED).permutation(num_train)
    held_out = 0 if num_test else num_train // 10
    kept, test = order[: num_train - held_out], order[num_train - held_out :]
    cuts = train_boundaries(len(kept), percent)
    indices = {split: kept[start:stop] for split, (start, stop) in cuts.items()}
    return {**indices, "test": np.arange(num_test) if num_test else test}
