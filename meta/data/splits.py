"""How a dataset is cut into train, inner validation, outer validation and test."""

import numpy as np

SPLITS = ("train", "inner_valid", "outer_valid", "test")

SHUFFLE_SEED = 0  # part of the definition of the splits: files sorted by class exist


def check_split(split: str) -> str:
    """Return `split` if it is one of `SPLITS`, else raise a ValueError."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    return split


def train_boundaries(n: int, percent: int = 80) -> dict[str, tuple[int, int]]:
    """Cut n training examples into 80% train, 10% inner validation and 10% outer validation.

    Args:
        n: number of examples of the training file.
        percent: share of the file that is trained on; below 80 the rest of the first 80% is left out.

    Returns:
        For each of the three splits the first example and the one after the last.

    Raises:
        ValueError: a split would be empty.
    """
    eighty, ninety = n * 80 // 100, n * 90 // 100
    cuts = {"train": (0, n * percent // 100), "inner_valid": (eighty, ninety), "outer_valid": (ninety, n)}
    for split, (start, stop) in cuts.items():
        if start >= stop:
            raise ValueError(f"{n} training examples are too few: the split {split!r} would be empty")
    return cuts


def split_indices(num_train: int, num_test: int, percent: int = 80) -> dict[str, np.ndarray]:
    """Draw which examples each split holds: the train file is shuffled by a fixed seed and cut.

    Args:
        num_train: examples in the train file.
        num_test: examples in the test file, or 0 if there is none: then the last tenth of the shuffled train
            file is the test split and the rest is cut as above.
        percent: share of the train file that is trained on.

    Returns:
        Row numbers of each split; those of "test" count in the test file if there is one, else in the train
        file.
    """
    order = np.random.default_rng(SHUFFLE_SEED).permutation(num_train)
    held_out = 0 if num_test else num_train // 10
    kept, test = order[: num_train - held_out], order[num_train - held_out :]
    cuts = train_boundaries(len(kept), percent)
    indices = {split: kept[start:stop] for split, (start, stop) in cuts.items()}
    return {**indices, "test": np.arange(num_test) if num_test else test}
