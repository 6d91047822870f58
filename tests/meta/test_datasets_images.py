"""Image datasets: contents, splits, and errors for bad input."""

import jax
import numpy as np
import pyarrow.parquet
import pytest
import sklearn.datasets

from celo.meta.data import SPLITS, load_images
from celo.meta.data.catalog import split_indices
from celo.meta.data.resize import resize
from tests.meta.dataset_files import MNIST, random_images, write_images, write_mnist


def test_digits_are_those_of_scikit_learn_shuffled_always_alike(tmp_path):
    data = load_images("digits", cache_dir=tmp_path)
    again = load_images("digits", cache_dir=tmp_path / "other")
    sizes = {split: len(examples.labels) for split, examples in data.splits.items()}
    assert sizes == {"train": 1294, "inner_valid": 162, "outer_valid": 162, "test": 179}
    for split in SPLITS:
        np.testing.assert_array_equal(data.splits[split].images, again.splits[split].images)

    pixels, targets = (np.asarray(column) for column in sklearn.datasets.load_digits(return_X_y=True))
    rows = split_indices(1797, 0)
    for split in SPLITS:
        images, labels = data.splits[split]
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(images.reshape(-1, 64) / data.level, pixels[rows[split]] / 16)
        np.testing.assert_array_equal(labels, targets[rows[split]])
        assert len(set(labels.tolist())) == data.num_classes == 10


def test_folder_rows_keep_their_labels(tmp_path):
    """An image whose mean encodes its row shows its label."""
    folder = tmp_path / MNIST
    images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 28, 28, 1))
    labels = [(7 * row) % 10 for row in range(60)]
    # Two shards: their order is that of their names.
    write_images(folder, ("image", "label"), images[:25], labels[:25], "train", "00000-of-00002")
    write_images(folder, ("image", "label"), images[25:50], labels[25:50], "train", "00001-of-00002")
    write_images(folder, ("image", "label"), images[50:], labels[50:], "test")
    data = load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    seen = []
    for split in SPLITS:
        pixels, found = data.splits[split]
        rows = np.rint(pixels.mean(axis=(1, 2, 3)) / data.level * 255).astype(int)
        np.testing.assert_array_equal(found, [labels[row] for row in rows])
        seen.extend(rows.tolist())
    assert sorted(seen) == list(range(60))
    assert sorted(seen[-10:]) == list(range(50, 60))


def test_upstream_slip_trains_on_one_percent(tmp_path):
    folder = tmp_path / "ufldl-stanford" / "svhn" / "cropped_digits"
    images = random_images((32, 32, 3), 200, seed=0)
    write_images(folder, ("image", "label"), images, [0] * 200, "train")
    write_images(folder, ("image", "label"), images[:10], [1] * 10, "test")
    sizes = {}
    for slip in (False, True):
        data = load_images("svhn", data_dir=tmp_path, cache_dir=tmp_path / "cache", upstream_1_percent=slip)
        sizes[slip] = [len(data.splits[split].labels) for split in SPLITS]
    assert sizes == {False: [160, 20, 20, 10], True: [2, 20, 20, 10]}


@pytest.mark.parametrize(
    ("name", "repository", "level", "tolerance"),
    [
        ("food101", "ethz/food101", 65535, 1e-5),  # rounded to 16 bits
        ("imagenet2012", "ILSVRC/imagenet-1k", 255, 1 / 255),  # truncated to 8
    ],
)
def test_images_of_any_size_are_resized_one_by_one(name, repository, level, tolerance, tmp_path):
    """Against JAX's resize; colours are kept, the validation file is the test split."""
    folder = tmp_path / repository / "data"
    shapes = [(12, 40, 3), (20, 20, 3), (33, 17, 3)] * 10
    images = [random_images(shape, 1, seed)[0] for seed, shape in enumerate(shapes)]
    write_images(folder, ("image", "label"), images, list(range(30)), "train")
    write_images(folder, ("image", "label"), images[:3], [7, 8, 9], "validation")
    data = load_images(name, 16, None, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert data.level == level
    assert data.splits["test"].labels.tolist() == [7, 8, 9]
    for split in SPLITS:
        for pixels, label in zip(*data.splits[split], strict=True):
            image = images[label - 7 if split == "test" else label]
            expected = jax.image.resize(image / np.float32(255), (16, 16, 3), "bilinear", antialias=False)
            below = np.asarray(expected) - pixels / level
            assert below.max() < tolerance + 1e-6
            assert below.min() > (-tolerance if level == 65535 else -1e-6)


REAL = {
    "mnist": (MNIST, 255 * 16),
    "fashion_mnist": ("zalando-datasets/fashion_mnist/fashion_mnist", 255 * 16),
    "cifar10": ("uoft-cs/cifar10/plain_text", 255 * 12),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    "rows", [(2000, 500), pytest.param(None, marks=pytest.mark.slow)], ids=["part", "whole"]
)
def test_real_sets(name, rows, shared_path, tmp_path):
    """The files of the hub, or files of their first rows: decoding a whole set takes half a minute."""
    place, level = REAL[name]
    folder = shared_path("data")
    if rows is not None:
        (tmp_path / place).mkdir(parents=True)
        for split, n in zip(("train", "test"), rows, strict=True):
            (file,) = shared_path(f"data/{place}").glob(f"{split}-*.parquet")
            part = next(pyarrow.parquet.ParquetFile(file).iter_batches(n))
            pyarrow.parquet.write_table(pyarrow.Table.from_batches([part]), tmp_path / place / file.name)
        folder = tmp_path
    data = load_images(name, data_dir=folder, cache_dir=tmp_path / "cache")
    train, test = rows or ((50_000 if name == "cifar10" else 60_000), 10_000)
    sizes = [train * 8 // 10, train // 10, train // 10, test]
    assert [len(data.splits[split].labels) for split in SPLITS] == sizes
    assert (data.shape, data.level) == ((8, 8, 1), level)
    for split in SPLITS:
        counts = np.bincount(data.splits[split].labels, minlength=10)
        assert counts.min() > (0.25 if rows else 0.7) * counts.mean()  # shuffled: no split lacks a class
        assert data.splits[split].images.max() > 0.9 * level


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnits"}, "Unknown image dataset 'mnits'. Did you mean 'mnist'"),
        ({"name": "digits", "size": 0}, "size must be .* at least 1, or None, got 0"),
        ({"name": "digits", "size": 8.0}, "got 8.0"),
        ({"name": "digits", "size": True}, "got True"),
        ({"name": "digits", "channels": 2}, "channels must be 1, 3 or None, got 2"),
        ({"name": "food101", "size": None}, "images of food101 have any size: give a size in pixels"),
        ({"name": "digits", "upstream_1_percent": True}, "upstream_1_percent is for svhn, cifar100, food101"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_images(**arguments, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_colour_file_of_a_grey_set_is_read_as_grey(tmp_path):
    """Some snapshots hold grey images saved with three equal channels."""
    folder = write_mnist(tmp_path)
    grey = random_images((28, 28, 1), 40, 0)
    colour = np.repeat(grey, 3, axis=-1)
    write_images(folder, ("image", "label"), colour, [i % 10 for i in range(40)], "train")
    data = load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    rows = split_indices(40, 10)["train"]
    np.testing.assert_array_equal(data.splits["train"].images, resize(grey[rows], 8, 1, 255))
