"""Tasks by name: those of learned_optimization that VeLOdrome and the Celo paper use, and small ones of ours.

A name gives the kind of task, the data and their size, the architecture and the batch. A published name keeps
its published batch, 128 if it says none; the families of the Celo paper train on 64, which their names say.
"BW" is an image averaged to one channel. The tables are in `celo.meta.tasks.families`; docs/tasks.md lists them.

Names ending in "_upstream1percent" train on 1% of the train file, see `celo.meta.tasks.families.one_percent`.

Not here: the three NeRF tasks (`JAXNeRF_*`), whose images and model come from another project, and
`NoisyQuadraticFamily`, of which neither dimensions nor noise are published.
"""

import os
from collections.abc import Mapping

from celo._core.names import unknown_name
from celo.meta.data.catalog import TEXT_DATASETS, find_spec
from celo.meta.tasks.base import Params, Task
from celo.meta.tasks.families import ENTRIES, META_TRAINING, Entry
from celo.meta.tasks.families.language import DocumentTask

__all__ = ["META_TRAINING", "TASKS", "Entry", "make", "parameter_shapes"]

TASKS: Mapping[str, Entry] = ENTRIES
"""Name to entry; read-only. An entry has `family`, `dataset` and `parameter_shapes()`, and loads no data."""


def find(name: str) -> Entry:
    """Look an entry up.

    Raises:
        ValueError: an unknown name; the nearest names are in the message.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def make(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    lm_corpus: str | None = None,
    lm_tokenizer: str | None = None,
) -> Task:
    """Build a task by name, loading its data.

    A language model of a published name reads LM1B or Wikipedia, by a vocabulary trained on it. It can be
    given another corpus or tokenizer; its attribute `data_note` says which it has. Other tasks, those on the
    bytes of a small corpus included, stay as they are.

    Args:
        name: one of `TASKS`.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for decoded arrays; default the variable CELO_CACHE, else ~/.cache/celo.
        lm_corpus: name of the text dataset published language models read, see `celo.meta.data.TEXT_DATASETS`;
            None for each model's own.
        lm_tokenizer: tokenizer of those that read sub-words: a repository on the hub (the published one is
            "google-t5/t5-small") or the path of a tokenizer.json; None for one trained on the corpus.

    Returns:
        The task, its data on the default device.

    Raises:
        ValueError: an unknown name; the nearest names are in the message.
        DatasetNotFoundError: the data are nowhere to be had.

    Example:
        >>> make("ImageMLP_Digits8_Relu32_bs64").num_classes
        10
    """
    entry = find(name)
    if lm_corpus is not None:
        find_spec("text dataset", lm_corpus, TEXT_DATASETS)
    if isinstance(entry, DocumentTask):
        entry = entry.reading(lm_corpus, lm_tokenizer)
    return entry.make(name, {"data_dir": data_dir, "cache_dir": cache_dir})


def parameter_shapes(name: str) -> Params:
    """Return the shapes and dtypes of a task's parameters, without its data and without computing anything.

    Args:
        name: one of `TASKS`.

    Returns:
        A pytree of `jax.ShapeDtypeStruct` with the structure of `make(name).init(key)[0]`.

    Raises:
        ValueError: an unknown name; the nearest names are in the message.

    Example:
        >>> parameter_shapes("ImageMLP_Digits8_Relu32_bs64")["linear_0"]["w"].shape
        (64, 32)
    """
    return find(name).parameter_shapes()
