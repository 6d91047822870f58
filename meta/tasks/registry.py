"""Tasks by name: those of learned_optimization, for VeLOdrome and the Celo paper, small ones, and a user's.

A name gives the kind of task, the data and their size, the architecture and the batch. A published name keeps
its published batch, 128 if it gives none; the families of the Celo paper train on 64, as their names show.
"BW" is an image averaged to one channel. Each family's file has its table.

Names ending in "_upstream1percent" train on 1% of the train file, as the reference implementation trains
since August 2022: there, a `min` instead of a `max` cuts the train splits of SVHN, CIFAR-100 and Food-101.
Its published curves are older and used 80%, as the tasks of the plain names do here.

Not here: the three NeRF tasks (`JAXNeRF_*`), whose images and model come from another project, and
`NoisyQuadraticFamily`, of which neither dimensions nor noise are published.
"""

import dataclasses
import os
from collections.abc import Mapping
from types import MappingProxyType

from celo._core.names import lookup
from celo.meta.data.catalog import TEXT_DATASETS
from celo.meta.tasks.base import Params, Task
from celo.meta.tasks.click_through import CLICK_TASKS
from celo.meta.tasks.convnet import CONV_TASKS
from celo.meta.tasks.denoising import DENOISING_TASKS
from celo.meta.tasks.entry import Entry, UserEntry
from celo.meta.tasks.es_wrapped import ES_WRAPPED_TASKS
from celo.meta.tasks.fine_tuning import FINE_TUNING_TASKS
from celo.meta.tasks.graphs import GRAPH_TASKS
from celo.meta.tasks.image_autoencoder import IMAGE_MLP_AE_TASKS
from celo.meta.tasks.image_data import ImageEntry
from celo.meta.tasks.image_mlp import IMAGE_MLP_TASKS, META_TRAINING
from celo.meta.tasks.lopt import LOPT_PES_TASKS, LOPT_TASKS
from celo.meta.tasks.mlp_mixer import MLP_MIXER_TASKS
from celo.meta.tasks.quadratics import QUADRATIC_TASKS
from celo.meta.tasks.recurrent_lm import BYTE_RNN_LM_TASKS, RNN_LM_TASKS
from celo.meta.tasks.resnet import RESNET_TASKS
from celo.meta.tasks.sampled import check_sampled, find_sampled, is_sampled
from celo.meta.tasks.text_data import TextEntry
from celo.meta.tasks.transformer_lm import BYTE_TRANSFORMER_LM_TASKS, TRANSFORMER_LM_TASKS
from celo.meta.tasks.vit import VIT_TASKS

__all__ = [
    "META_TRAINING",
    "META_VALIDATION",
    "OURS",
    "SUFFIX",
    "TASKS",
    "WIDER_META_TRAINING",
    "WORKLOADS",
    "Entry",
    "check_name",
    "find",
    "make",
    "parameter_shapes",
]

SUFFIX = "_upstream1percent"

# Small tasks of kinds that the four families of the Celo paper lack.
WIDER_META_TRAINING = (
    "ImageMLP_Mnist8_Relu32x32x32_bs64",
    "ImageMLP_Cifar10BW8_Tanh32x32_bs64",
    "ImageMLP_FashionMnist8_LayerNorm_Relu32x32_bs64",
    "ImageMLPAE_Mnist8_32x8x32_bs64",
    "ImageMLPAE_Cifar10BW8_32x8x32_bs64",
)

# Neither meta-trained on nor in a suite: they choose between meta-trainings. Other depths, data and losses
# than the families, and a byte-level language model, as the meta-loss of perceptrons misranks schedulers.
META_VALIDATION = (
    "ImageMLP_Digits8_Relu64x64x64_bs64",
    "ImageMLP_FashionMnist16_Tanh64x64_bs64",
    "ImageMLPAE_FashionMnist8_32x16x32_bs64",
    "RNNLM_tinyshakespearebytes_Patch32_GRU64_Embed32_bs16",
)

# One for each workload of AlgoPerf's kinds, small enough for two cores.
WORKLOADS = (
    "ClickThrough_DLRM_8x1000_Embed16_bs128",
    "Denoising_Mnist14_UNet8x16x32_bs64",
    "Resnet_Cifar10_16_16x32x64x64",
    "Graphs_Triangles16_GNN32_bs64",
    "TransformerLM_wikitext2validbytes_Patch32_Dim64_Layers2_bs32",
)

# Tasks of this project on data of published ones, and without data.
OURS = (
    *WIDER_META_TRAINING,
    *META_VALIDATION,
    *WORKLOADS,
    "ImageMLP_Mnist_Relu128x128",
    "FineTuned_ImageMLP_Mnist_Relu128x128_from_FashionMnist",
    "Conv_Cifar10_16_16x32x32_batchnorm_bs64",
    "Conv_Cifar10_16_16x32x32_layernorm_bs64",
)

_TABLES = (
    IMAGE_MLP_TASKS,
    IMAGE_MLP_AE_TASKS,
    CONV_TASKS,
    VIT_TASKS,
    MLP_MIXER_TASKS,
    RESNET_TASKS,
    ES_WRAPPED_TASKS,
    LOPT_TASKS,
    LOPT_PES_TASKS,
    RNN_LM_TASKS,
    TRANSFORMER_LM_TASKS,
    BYTE_RNN_LM_TASKS,
    BYTE_TRANSFORMER_LM_TASKS,
    QUADRATIC_TASKS,
    CLICK_TASKS,
    DENOISING_TASKS,
    GRAPH_TASKS,
    FINE_TUNING_TASKS,
)
_PLAIN = {name: entry for table in _TABLES for name, entry in table.items()}

TASKS: Mapping[str, Entry] = MappingProxyType(
    _PLAIN
    | {
        name + SUFFIX: dataclasses.replace(entry, upstream_1_percent=True)
        for name, entry in _PLAIN.items()
        if isinstance(entry, ImageEntry) and entry.spec.upstream_1_percent
    }
)
"""Name to entry; read-only. An entry has `family`, `dataset`, `loss_unit` and `parameter_shapes()`, and loads
no data."""


def find(name: str) -> Entry:
    """Look an entry up, or make one of the name of a sampled task or of a user's own task, `module:object`.

    ValueError for an unknown name, with the nearest names, or one not of the form `module:object`.
    """
    if isinstance(name, str) and is_sampled(name):
        return find_sampled(name)
    if isinstance(name, str) and ":" in name:
        return UserEntry.of(name)
    return lookup("task", name, TASKS)


def check_name(name: str) -> None:
    """Check the name of a task as `find` does, without importing or loading anything.

    Example:
        >>> check_name("ImageMLP_Digits8_Relu32_bs64")
        >>> check_name("ripple:task")
    """
    if isinstance(name, str) and is_sampled(name):
        check_sampled(name)
    else:
        find(name)


def make(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    lm_corpus: str | None = None,
    lm_tokenizer: str | None = None,
) -> Task:
    """Build a task by name, loading its data.

    A language model of a published name reads LM1B or Wikipedia, by a vocabulary trained on it. It can be
    given another corpus or tokenizer; its attributes `corpus`, `vocabulary` and `data_note` record them.
    Other tasks, those on the bytes of a small corpus included, stay as they are.

    Args:
        name: one of `TASKS`, a sampled task such as "sampled:image_mlp/17" (see `celo.meta.tasks.sampled`),
            or `module:object` for a task of your own, see `Task`. The module is imported with the working
            folder on the path; the object is a task, or a function that returns one, called without
            arguments or, if it takes it, with `data_dir`.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for decoded arrays; default the variable CELO_CACHE, else ~/.cache/celo.
        lm_corpus: text dataset for the published language models, see `celo.meta.data.TEXT_DATASETS`; None
            for each model's own.
        lm_tokenizer: tokenizer of those that read sub-words: a repository on the hub (the published one is
            "google-t5/t5-small") or the path of a tokenizer.json; None for one trained on the corpus.

    Returns:
        The task, its data on the default device.

    Raises:
        ValueError: an unknown name, with the nearest names; a module, object or method is missing.
        DatasetNotFoundError: no place has the data.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.

    Example:
        >>> make("ImageMLP_Digits8_Relu32_bs64").num_classes
        10
    """
    entry = find(name)
    if lm_corpus is not None:
        lookup("text dataset", lm_corpus, TEXT_DATASETS)
    if isinstance(entry, TextEntry):
        entry = entry.reading(lm_corpus, lm_tokenizer)
    return entry.make(name, {"data_dir": data_dir, "cache_dir": cache_dir})


def parameter_shapes(name: str) -> Params:
    """Return the shapes and dtypes of a task's parameters, without its data and without computing anything.

    A pytree of `jax.ShapeDtypeStruct` with the structure of `make(name).init(key)[0]`. ValueError for an
    unknown name; the nearest names are in the message.

    Example:
        >>> parameter_shapes("ImageMLP_Digits8_Relu32_bs64")["linear_0"]["w"].shape
        (64, 32)
    """
    return find(name).parameter_shapes()
