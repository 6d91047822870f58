"""Where datasets are looked for, in which order, and what is cached."""

import math
import sys
import types

import datasets
import huggingface_hub
import numpy as np
import pytest

from celo.meta.data import DatasetNotFoundError, load_images, load_text, source
from tests.meta.dataset_files import png, random_images, write_mnist


@pytest.fixture
def offline(monkeypatch, no_hub):
    """A hub out of reach, and no folder or cache from the environment."""
    monkeypatch.delenv("CELO_DATA", raising=False)
    monkeypatch.delenv("CELO_CACHE", raising=False)


def same(first, second):
    for split in first.splits:
        np.testing.assert_array_equal(first.splits[split].images, second.splits[split].images)
        np.testing.assert_array_equal(first.splits[split].labels, second.splits[split].labels)


@pytest.mark.usefixtures("offline")
def test_offline_error_names_the_set_the_folder_and_the_ways(tmp_path):
    with pytest.raises(DatasetNotFoundError) as raised:
        load_images("svhn", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(DatasetNotFoundError, match="column text into DATA/karpathy"):
        load_text("tiny_shakespeare", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    ways = (
        "ufldl-stanford/svhn/cropped_digits/train-*.parquet",
        "hf download ufldl-stanford/svhn",
        "CELO_DATA",
    )
    for part in ("'svhn'", str(tmp_path), "ConnectionError: no route to host", *ways):
        assert part in str(raised.value)
    assert isinstance(raised.value.__cause__, ConnectionError)


@pytest.mark.parametrize("error", [ConnectionError, FileNotFoundError])
def test_an_unreachable_hub_is_left_alone_for_a_minute(error, tmp_path, monkeypatch):
    """What the library has downloaded is still found. An answer of the hub is no reason to keep off."""
    now, requests = [1000.0], []

    def unreachable(*args, **kwargs):
        requests.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        raise error("no route to host")

    monkeypatch.delenv("CELO_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setattr(source, "_unreachable", {"since": -math.inf})
    monkeypatch.setattr(source, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    for name, later, message in (
        ("svhn", 0.0, "no route to host"),
        ("cifar10", 59.0, "could not be reached within the last minute"),
        ("mnist", 2.0, "no route to host"),
    ):
        now[0] += later
        away = error is ConnectionError
        with pytest.raises(DatasetNotFoundError, match=message if away else "no route to host"):
            load_images(name, cache_dir=tmp_path)
    assert requests == [False, away, False]
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("offline")
def test_folder_from_argument_or_variable(tmp_path, monkeypatch):
    write_mnist(tmp_path / "data")
    given = load_images("mnist", data_dir=tmp_path / "data", cache_dir=tmp_path / "a")
    monkeypatch.setenv("CELO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "b"))
    same(given, load_images("mnist"))
    first, second = ({path.name for path in (tmp_path / cache).iterdir()} for cache in "ab")
    assert first == second


def test_missing_folder(tmp_path, monkeypatch):
    with pytest.raises(DatasetNotFoundError, match=r"nowhere \(from data_dir\) does not exist"):
        load_images("mnist", data_dir=tmp_path / "nowhere", cache_dir=tmp_path)
    monkeypatch.setenv("CELO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetNotFoundError, match=r"nowhere \(from CELO_DATA\) does not exist"):
        load_images("mnist", cache_dir=tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """A hub that serves the MNIST of `write_mnist`, and a list of its requests."""
    requests = []

    def load_dataset(repository, config, split, revision):
        requests.append((repository, config, split, revision))
        n, seed = (40, 0) if split == "train" else (10, 1)
        rows = {"image": [png(image) for image in random_images((28, 28, 1), n, seed)]}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        return datasets.Dataset.from_dict({**rows, "label": [i % 10 for i in range(n)]}, features)

    monkeypatch.delenv("CELO_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requests


def test_hub_rows_equal_those_of_a_folder_and_are_requested_once(tmp_path, hub):
    write_mnist(tmp_path / "data")
    expected = load_images("mnist", data_dir=tmp_path / "data", cache_dir=tmp_path / "folder")
    same(expected, load_images("mnist", cache_dir=tmp_path / "hub"))
    same(expected, load_images("mnist", cache_dir=tmp_path / "hub"))
    assert hub == [("ylecun/mnist", "mnist", split, "main") for split in ("train", "test")]


def test_cache_alone_serves_without_the_decoders(tmp_path, hub, monkeypatch):
    """What the hub and scikit-learn gave; each is the one place its cache entry can be of."""
    cache = tmp_path / "cache"
    expected = load_images("mnist", cache_dir=cache)
    digits = load_images("digits", cache_dir=cache)
    for module in ("pyarrow", "PIL", "sklearn.datasets", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    same(expected, load_images("mnist", cache_dir=cache))
    same(digits, load_images("digits", cache_dir=cache))
    with pytest.raises(DatasetNotFoundError, match="ships inside a dependency that is not installed"):
        load_images("digits", size=4, cache_dir=cache)


def test_a_changed_file_is_decoded_anew(tmp_path):
    write_mnist(tmp_path, seed=0)
    first = load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    write_mnist(tmp_path, seed=5)
    second = load_images("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert not np.array_equal(first.splits["train"].images, second.splits["train"].images)


def test_what_a_folder_holds_never_serves_without_it(tmp_path, hub):
    """Two small folders were read before; without a folder the hub serves, then its cache."""
    cache = tmp_path / "cache"
    for seed in (5, 7):
        write_mnist(tmp_path / f"small{seed}", train=20, seed=seed)
        load_images("mnist", data_dir=tmp_path / f"small{seed}", cache_dir=cache)
    assert hub == []
    write_mnist(tmp_path / "whole")
    expected = load_images("mnist", data_dir=tmp_path / "whole", cache_dir=tmp_path / "another")
    same(expected, load_images("mnist", cache_dir=cache))
    same(expected, load_images("mnist", data_dir=tmp_path / "another", cache_dir=cache))  # holds no parquet
    assert len(hub) == 2


@pytest.mark.usefixtures("offline")
def test_what_a_folder_holds_never_serves_for_another(tmp_path):
    """Nor does it hide the one clear error where neither the folder nor the hub has the set."""
    write_mnist(tmp_path / "data")
    load_images("mnist", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"'mnist' was not found\. Looked in .*empty"):
        load_images("mnist", data_dir=tmp_path / "empty", cache_dir=tmp_path / "cache")
    with pytest.raises(DatasetNotFoundError, match=r"'mnist' was not found\. Looked in no data folder"):
        load_images("mnist", cache_dir=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    write_mnist(tmp_path / "data")
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="mnist-8x8x1 is not cached in"):
        load_images("mnist", data_dir=tmp_path / "data", cache_dir=blocked)
