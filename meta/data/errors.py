"""Errors of the dataset loaders, each saying what was asked, what was found and what would help."""


class DatasetNotFoundError(FileNotFoundError):
    """A known dataset that is neither embedded, nor in a folder or cache, nor on the hub."""


class DatasetFormatError(ValueError):
    """A file of a dataset that is truncated, corrupt, or holds other columns or shapes than it should."""
