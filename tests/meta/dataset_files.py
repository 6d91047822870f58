"""Small snapshots of hub datasets, written for the tests of the loaders."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet

MNIST = "ylecun/mnist/mnist"
WIKITEXT = ("Salesforce", "wikitext", "wikitext-2-v1")


def sentences(n: int, tail: str = "") -> list[str]:
    """Different sentences of one word more each, up to ten."""
    words = ("alpha", "beta", "gamma", "delta")
    return [" ".join(words[j % 4] for j in range(i % 10)) + f" {i}{tail}" for i in range(n)]


def png(image: np.ndarray) -> dict[str, object]:
    """Encode an image (height, width, 1 or 3) as the hub's struct."""
    file = io.BytesIO()
    PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def random_images(shape: tuple[int, int, int], n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def write_images(
    folder: Path,
    columns: tuple[str, str],
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int | None],
    split: str,
    shard: str = "",
) -> Path:
    """Write one parquet file of images and labels and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-{shard or '00000-of-00001'}.parquet"
    table = pyarrow.table({columns[0]: [png(image) for image in images], columns[1]: list(labels)})
    pyarrow.parquet.write_table(table, path)
    return path


def write_mnist(data: Path, train: int = 40, test: int = 10, seed: int = 0) -> Path:
    """Write a tiny set laid out like MNIST and return the folder of its files."""
    folder = data / MNIST
    for split, n, number in (("train", train, seed), ("test", test, seed + 1)):
        labels = [i % 10 for i in range(n)]
        write_images(folder, ("image", "label"), random_images((28, 28, 1), n, number), labels, split)
    return folder


def write_wikitext(data: Path) -> dict[str, Path]:
    """Write a hundred documents laid out like WikiText-2 and return the folders to load them with."""
    write_text(data.joinpath(*WIKITEXT), "train", sentences(100))
    write_text(data.joinpath(*WIKITEXT), "test", sentences(7, "test"))
    return {"data_dir": data, "cache_dir": data / "cache"}


def write_text(folder: Path, split: str, rows: Sequence[object]) -> Path:
    """Write one parquet file of texts and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": rows}), path)
    return path
