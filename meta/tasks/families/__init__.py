"""The registry as tables, one file per family: a name and how its task is built."""

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.families.byte_rnn_lm import BYTE_RNN_LM_TASKS
from celo.meta.tasks.families.conv import CONV_TASKS
from celo.meta.tasks.families.entry import Entry, shapes_of
from celo.meta.tasks.families.es_wrapped import ES_WRAPPED_TASKS
from celo.meta.tasks.families.image_mlp import IMAGE_MLP_TASKS, META_TRAINING
from celo.meta.tasks.families.image_mlp_ae import IMAGE_MLP_AE_TASKS
from celo.meta.tasks.families.language import LANGUAGE_TASKS
from celo.meta.tasks.families.lopt import LOPT_PES_TASKS, LOPT_TASKS
from celo.meta.tasks.families.mlp_mixer import MLP_MIXER_TASKS
from celo.meta.tasks.families.one_percent import one_percent
from celo.meta.tasks.families.quadratics import QUADRATIC_TASKS
from celo.meta.tasks.families.resnet import RESNET_TASKS
from celo.meta.tasks.families.vit import VIT_TASKS

__all__ = ["ENTRIES", "META_TRAINING", "Entry", "shapes_of"]

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
    LANGUAGE_TASKS,
    BYTE_RNN_LM_TASKS,
    QUADRATIC_TASKS,
)


def _merge(tables: tuple[Mapping[str, Entry], ...]) -> Mapping[str, Entry]:
    """Merge tables, in which no name may stand twice."""
    merged: dict[str, Entry] = {}
    for table in tables:
        twice = merged.keys() & table.keys()
        if twice:
            raise ValueError(f"tasks are named twice: {', '.join(sorted(twice))}")
        merged |= table
    return MappingProxyType(merged)


ENTRIES: Mapping[str, Entry] = _merge((*_TABLES, one_percent(_TABLES)))
