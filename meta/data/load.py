"""The order in which the places that may hold a dataset are asked."""

import os
from collections.abc import Callable

from celo.meta.data.cache import Arrays, Cache
from celo.meta.data.catalog import DatasetSpec
from celo.meta.data.source import HubSource, Source, data_folder, find_folder


def load_arrays(
    spec: DatasetSpec,
    cache: Cache,
    build: Callable[[Source], Arrays],
    embedded: Source | None,
    data_dir: str | os.PathLike[str] | None,
) -> Arrays:
    """Load the arrays of a dataset from the first place that has it.

    The order is: the dependency it is embedded in; the data folder; the hub. Whatever is decoded is written
    to the cache under the fingerprint of its place, and read from there for this place alone: what a folder
    holds never serves where another folder, or none, is given.

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
    source = embedded or find_folder(spec, folder) or HubSource(spec, folder)
    arrays = cache.read(source.fingerprint)
    if arrays is None:
        arrays = build(source)
        cache.write(source.fingerprint, arrays)
    return arrays
