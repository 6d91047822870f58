"""What is known about every dataset by name: where it lives on the hub, its columns and its shape.

Sizes and columns are those of the repositories on the Hugging Face hub; a folder laid out like a snapshot of
the hub is read with the same entries.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from celo.names import unknown_name


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset.

    Attributes:
        name: short name used everywhere in this project.
        repository: repository on the hub, or None for a set embedded in a dependency.
        config: configuration of the repository; also the sub-folder of a snapshot. None when it has only one.
        columns: the columns read: image and label, or text.
        revision: revision of the repository read from the hub.
    """

    name: str
    repository: str | None
    config: str | None
    columns: tuple[str, ...]
    revision: str = "main"


@dataclasses.dataclass(frozen=True)
class ImageSpec(DatasetSpec):
    """An image-classification dataset.

    Attributes:
        shape: height, width and channels of every image, in pixels.
        num_classes: number of labels; labels are 0 .. num_classes - 1.
        white: the pixel value that means 1.0.
        upstream_1_percent: whether the reference implementation reads only 1% of its train split.
    """

    shape: tuple[int, int, int] = (28, 28, 1)
    num_classes: int = 10
    white: int = 255
    upstream_1_percent: bool = False


@dataclasses.dataclass(frozen=True)
class TextSpec(DatasetSpec):
    """A text dataset: the rows of its one column, joined, are the corpus."""


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
)

_TEXTS = (
    TextSpec("pydoc", None, None, ()),
    # The main branch holds a loading script, which `datasets` no longer runs; this one holds parquet files.
    TextSpec(
        "tiny_shakespeare", "karpathy/tiny_shakespeare", None, ("text",), revision="refs/convert/parquet"
    ),
    TextSpec("wikitext2", "Salesforce/wikitext", "wikitext-2-v1", ("text",)),
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
