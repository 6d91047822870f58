"""What is known about every dataset by name: where it lives on the hub, its columns and its shape.

Sizes and columns are those of the repositories on the Hugging Face hub; a folder laid out like a snapshot of
the hub is read with the same entries.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from celo._core.names import unknown_name


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset.

    Attributes:
        name: short name used everywhere in this project.
        repository: repository on the hub, or None for a set embedded in a dependency.
        config: configuration of the repository; also the sub-folder of a snapshot. None when it has only one.
        columns: the columns read: image and label, or text.
        revision: revision of the repository read from the hub.
        train_file: what the files are called that serve as the train file: `<train_file>-*.parquet`.
        test_file: likewise the test file, or None where there is none.
        folder: sub-folder of a snapshot that holds the files, where it is not `config`.
        advice: what to do instead when the dataset is not to be had; part of the error.
    """

    name: str
    repository: str | None
    config: str | None
    columns: tuple[str, ...]
    revision: str = "main"
    train_file: str = "train"
    test_file: str | None = "test"
    folder: str | None = None
    advice: str = ""

    def file(self, split: str) -> str | None:
        """Return what the files of "train" or "test" are called, or None if there are none."""
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

    lines: bool = False
    held_out_percent: int = 10


_IMAGES = (
    ImageSpec("digits", None, None, (), shape=(8, 8, 1), white=16),
    ImageSpec("mnist", "ylecun/mnist", "mnist", ("image", "label")),
    ImageSpec("fashion_mnist", "zalando-datasets/fashion_mnist", "fashion_mnist", ("image", "label")),
    ImageSpec("cifar10", "uoft-cs/cifar10", "plain_text", ("img", "label"), shape=(32, 32, 3)),
    ImageSpec(
        "svhn",
        "ufldl-stanford/svhn",
        "cropped_digits",
        ("image", "label"),
        shape=(32, 32, 3),
        upstream_1_percent=True,
    ),
    ImageSpec(
        "cifar100",
        "uoft-cs/cifar100",
        "cifar100",
        ("img", "fine_label"),
        shape=(32, 32, 3),
        num_classes=100,
        upstream_1_percent=True,
    ),
    ImageSpec(
        "food101",
        "ethz/food101",
        None,
        ("image", "label"),
        test_file="validation",
        folder="data",
        shape=(0, 0, 3),
        num_classes=101,
        upstream_1_percent=True,
    ),
    # The labels of the test split are not public. The hub asks for consent to ImageNet's terms.
    ImageSpec(
        "imagenet2012",
        "ILSVRC/imagenet-1k",
        None,
        ("image", "label"),
        test_file="validation",
        folder="data",
        shape=(0, 0, 3),
        num_classes=1000,
        truncated=True,
    ),
)

_ANOTHER_CORPUS = "Language models can be given another corpus, by lm_corpus"

_TEXTS = (
    TextSpec("pydoc", None, None, (), lines=True),
    # The main branch holds a loading script, which `datasets` no longer runs; this one holds parquet files.
    TextSpec(
        "tiny_shakespeare",
        "karpathy/tiny_shakespeare",
        None,
        ("text",),
        revision="refs/convert/parquet",
        lines=True,
    ),
    TextSpec(
        "wikitext2",
        "Salesforce/wikitext",
        "wikitext-2-v1",
        ("text",),
        advice="wikitext2_valid reads the validation file in the place of the train file",
    ),
    # The small validation file in the place of the train file, where that one is not at hand.
    TextSpec("wikitext2_valid", "Salesforce/wikitext", "wikitext-2-v1", ("text",), train_file="validation"),
    TextSpec("wikitext103", "Salesforce/wikitext", "wikitext-103-v1", ("text",)),
    TextSpec(  # likewise a loading script on the main branch
        "lm1b",
        "billion-word-benchmark/lm1b",
        None,
        ("text",),
        revision="refs/convert/parquet",
        held_out_percent=1,
        advice=_ANOTHER_CORPUS,
    ),
    TextSpec(
        "wikipedia20201201",
        "wikipedia",
        "20201201.en",
        ("text",),
        revision="refs/convert/parquet",  # the main branch has files of a later dump, and a loading script
        test_file=None,
        held_out_percent=1,
        advice=f"{_ANOTHER_CORPUS}; wikipedia20231101 is a later dump",
    ),
    TextSpec(
        "wikipedia20231101",
        "wikimedia/wikipedia",
        "20231101.en",
        ("text",),
        test_file=None,
        held_out_percent=1,
    ),
)

IMAGE_DATASETS: Mapping[str, ImageSpec] = MappingProxyType({spec.name: spec for spec in _IMAGES})
TEXT_DATASETS: Mapping[str, TextSpec] = MappingProxyType({spec.name: spec for spec in _TEXTS})

_Spec = TypeVar("_Spec", bound=DatasetSpec)


def find_spec(kind: str, name: str, catalog: Mapping[str, _Spec]) -> _Spec:
    """Look a dataset up by name.

    Args:
        kind: what is looked for, such as "image dataset"; used in the error.
        name: short name.
        catalog: `IMAGE_DATASETS` or `TEXT_DATASETS`.

    Returns:
        The entry of the catalog.

    Raises:
        ValueError: the name is not in the catalog; the nearest names are in the message.
    """
    if name not in catalog:
        raise unknown_name(kind, name, catalog)
    return catalog[name]
