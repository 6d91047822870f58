"""Damaged or hostile foreign files: one clear error that names the file, whatever the parser raises."""

import contextlib
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from celo.meta.data import DatasetFormatError, DatasetNotFoundError, PublishedSubwords, load_images
from tests.meta.dataset_files import MNIST, png, random_images, write_images, write_mnist


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width, height):
    """A PNG of a few hundred kilobytes at most that claims the size, all black."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


GOOD: Any = png(random_images((28, 28, 1), 1, 0)[0])["bytes"]
IMAGES = {
    "text": b"not an image",
    "empty": b"",
    "truncated": GOOD[: len(GOOD) // 2],
    "broken_chunk": GOOD[:40] + b"\xff\xff\xff\xff" + GOOD[44:],
    "bomb": bomb(12_000, 16_000),
    "half_a_bomb": bomb(10_000, 10_000),
}


def write_struct(folder, image):
    folder.mkdir(parents=True, exist_ok=True)
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    table = pyarrow.table({"image": pyarrow.array([image], kind), "label": [0]})
    for split in ("train", "validation"):
        pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(("name", "place"), [("mnist", MNIST), ("food101", "ethz/food101/data")])
def test_images(kind, name, place, tmp_path):
    """Of one size, where the header alone refuses a bomb, and of any size."""
    write_struct(tmp_path / place, {"bytes": IMAGES[kind], "path": None})
    message = f"{name} train row 0: (the value is not a readable image|expected .28).*read from {tmp_path}"
    with pytest.raises(DatasetFormatError, match=message):
        load_images(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_an_image_without_bytes(tmp_path):
    write_struct(tmp_path / MNIST, {"bytes": None, "path": "0.png"})
    with pytest.raises(DatasetFormatError, match="row 0: expected a struct with the bytes of an image"):
        load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train.csv", "1,2")


PARQUET = {
    "text": lambda path: path.write_text("not a parquet file"),
    "empty": lambda path: path.write_bytes(b""),
    "archive": archive,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:4] + bytes(3000) + path.read_bytes()[3004:]),
    "footer": lambda path: path.write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", 2**31) + b"PAR1"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet(kind, tmp_path):
    path = next(write_mnist(tmp_path).glob("train-*"))
    PARQUET[kind](path)
    with pytest.raises(DatasetFormatError, match=r"train-00000-of-00001.parquet|mnist train row"):
        load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_wrong_columns_and_values(tmp_path):
    folder = write_mnist(tmp_path)
    folders = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    images = random_images((28, 28, 1), 2, 0)
    path = write_images(folder, ("image", "digit"), images, [0, 1], "train")
    message = f"{path.name} has no column label; its columns are image, digit"
    with pytest.raises(DatasetFormatError, match=message):
        load_images("mnist", **folders)
    for label in (10, -1, None):
        write_images(folder, ("image", "label"), images, [0, label], "train")
        with pytest.raises(DatasetFormatError, match=f"row 1: the label must be 0 .. 9, got {label}"):
            load_images("mnist", **folders)
    write_images(folder, ("image", "label"), random_images((20, 28, 1), 40, 0), [0] * 40, "train")
    with pytest.raises(DatasetFormatError, match=r"mnist train row 0: expected \(28, 28\) pixels"):
        load_images("mnist", **folders)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b'{"version": "1.0", "model'],
    ids=["empty", "object", "array", "no_text", "nested", "truncated"],
)
def test_tokenizer_json(content, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(DatasetFormatError, match=r"tokenizer\.json is not a tokenizer\.json \("):
        PublishedSubwords(str(file)).fit([])


def test_incomplete_folders(tmp_path):
    folder = write_mnist(tmp_path)
    path = next(folder.glob("train-*"))
    path.rename(folder / "train-00000-of-00002.parquet")
    with pytest.raises(DatasetFormatError, match="holds 1 of the 2 files"):
        load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"'mnist' is incomplete.*no train-\*.parquet"):
        load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "overwritten": lambda path: path.write_bytes(b"\x93NUMPY and then nothing that belongs here"),
    "empty": lambda path: path.write_bytes(b""),
    "archive": archive,
    "pickled": lambda path: np.save(path, np.array([{"a": 1}], object), allow_pickle=True),
    "reshaped": lambda path: np.save(path, np.load(path)[:-1]),
    "brightened": lambda path: np.save(path, np.full_like(np.load(path), 2**15 - 1)),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("array", ["train_images", "test_labels"])
def test_a_corrupt_cache_is_rebuilt_with_a_warning(damage, array, tmp_path):
    """Nothing pickled is read; half an entry is no entry, and needs no warning."""
    write_mnist(tmp_path / "data")
    folders = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    expected = load_images("mnist", **folders).splits["train"].images
    DAMAGE[damage](next((tmp_path / "cache").glob(f"*.{array}.npy")))
    warns = pytest.warns(UserWarning, match=r"cached arrays are corrupt and are not used: .*mnist-8x8x1")
    with contextlib.nullcontext() if damage == "missing" else warns:
        rebuilt = load_images("mnist", **folders)
    np.testing.assert_array_equal(rebuilt.splits["train"].images, expected)
    load_images("mnist", **folders)  # a warning here would be an error
