"""The order in which the places that may hold a dataset are asked."""

import os
from collections.abc import Callable
from pathlib import Path

from meta.datasets.cache import Arrays, Cache
from meta.datasets.catalog import DatasetSpec
from meta.datasets.source import HUB_FINGERPRINT, HubSource, Source, data_folder, find_folder, not_found


def load_arrays(
    spec: DatasetSpec,
    cache: Cache,
    build: Callable[[Source], Arrays],
    embedded: Source | None,
    data_dir: str | os.PathLike[str] | None,
) -> Arrays:
    """Load the arrays of a dataset from the first place that has it.

    The order is: the dependency it is embedded in; the data folder; arrays cached earlier, when the place
    they came from is out of reach; the hub. Whatever is decoded is written to the cache.

    Args:
        spec: entry of the catalog.
        cache: cache entries of this dataset in the wanted variant.
        build: decodes a source into arrays.
        embedded: source inside a dependency, or None.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.

    Returns:
        Arrays by name; memory-mapped when they come from the cache.

    Raises:
        DatasetNotFoundError: no place has the dataset.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.
    """
    folder = data_folder(data_dir)
    source = embedded or find_folder(spec, folder)
    if source is None:
        stored = _stored(cache)
        if stored is not None:
            return stored
        source = _remote(spec, folder)
    arrays = cache.read(source.fingerprint)
    if arrays is None:
        arrays = build(source)
        cache.write(source.fingerprint, arrays)
    return arrays


def _stored(cache: Cache) -> Arrays | None:
    """Read the one entry of the cache that serves without its source."""
    found = cache.fingerprints()
    if len(found) > 1 and HUB_FINGERPRINT not in found:
        raise ValueError(
            f"The cache {cache.folder} holds {cache.name} from several sources ({', '.join(found)}) and none "
            "of them is in reach: give the data folder it came from, or delete the others"
        )
    if not found:
        return None
    return cache.read(HUB_FINGERPRINT if HUB_FINGERPRINT in found else found[0])


def _remote(spec: DatasetSpec, folder: Path | None) -> HubSource:
    if spec.repository is None:
        raise not_found(spec, folder, "it cannot be imported")
    return HubSource(spec, folder)
