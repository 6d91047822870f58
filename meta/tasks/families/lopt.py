"""Training learned optimizers as tasks: through the whole inner training, and by truncated PES.

"Fahion" is how the published names spell it.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from celo.learned import learned_optimizer
from celo.meta.tasks.es_wrapped import ESWrapped
from celo.meta.tasks.families.composite import CompositeTask
from celo.meta.tasks.families.conv import CONV_TASKS
from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image_mlp import IMAGE_MLP_TASKS
from celo.meta.tasks.learned_optimizer_training import LearnedOptimizerTraining
from celo.meta.tasks.pes_training import PESTraining

_INNER: Mapping[str, Entry] = {**IMAGE_MLP_TASKS, **CONV_TASKS}
_FASHION, _CIFAR = "ImageMLP_FashionMnist8_Relu32", "ImageMLP_Cifar10BW8_Relu32"
_CONV8, _CONV16 = "Conv_Cifar10_8_16x32", "Conv_Cifar10_16_32x64x64"


def _unrolled(optimizer: str, inner: str, steps: int) -> CompositeTask:
    learned = learned_optimizer(optimizer)
    build = functools.partial(LearnedOptimizerTraining.of, learned=learned, steps=steps)
    return CompositeTask.on("lopt", inner, _INNER[inner], build)


def _by_es(name: str) -> CompositeTask:
    return CompositeTask.on("lopt", name, _UNROLLED[name], functools.partial(ESWrapped.of, pairs=4))


def _by_pes(inner: str, problems: int, horizon: int, length: int) -> CompositeTask:
    build = functools.partial(
        PESTraining.of,
        learned=learned_optimizer("adafac_mlp"),
        problems=problems,
        horizon=horizon,
        length=length,
    )
    return CompositeTask.on("lopt_pes", inner, _INNER[inner], build)


_UNROLLED = {
    "LOpt_MLPLOpt_FahionMnist_10": _unrolled("mlp_lopt", _FASHION, 10),
    "LOpt_MLPLOpt_FahionMnist_50": _unrolled("mlp_lopt", _FASHION, 50),
    "LOpt_MLPLOpt_FahionMnist_100": _unrolled("mlp_lopt", _FASHION, 100),
    "LOpt_MLPLOpt_Cifar10_16_10": _unrolled("mlp_lopt", _CONV16, 10),
    "LOpt_MLPLOpt_Cifar10_8_50": _unrolled("mlp_lopt", _CONV8, 50),
    "LOpt_AdafacMLPLOpt_Cifar10_8_10": _unrolled("adafac_mlp", _CONV8, 10),
    "LOpt_AdafacMLPLOpt_FashionMnist_20": _unrolled("adafac_mlp", _FASHION, 20),
    "LOpt_AdafacMLPLOpt_FashionMnist_50": _unrolled("adafac_mlp", _FASHION, 50),
    "LOpt_LearnableAdam_Cifar10_8_50": _unrolled("learnable_adam", _CONV8, 50),
    "LOpt_LearnableAdam_Cifar10_8_200": _unrolled("learnable_adam", _CONV8, 200),
}

LOPT_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        **_UNROLLED,
        "LOpt_ES4_AdafacMLPLOpt_FashionMnist_20": _by_es("LOpt_AdafacMLPLOpt_FashionMnist_20"),
        "LOpt_ES4_LOpt_MLPLOpt_FahionMnist_50": _by_es("LOpt_MLPLOpt_FahionMnist_50"),
        "LOpt_ES4_LOpt_MLPLOpt_Cifar10_16_10": _by_es("LOpt_MLPLOpt_Cifar10_16_10"),
    }
)

# Problems, horizon and truncation of each of the two inner tasks.
_TRUNCATED = ((16, 50, 10), (16, 200, 10), (8, 50, 5), (4, 50, 10), (4, 50, 5))

LOPT_PES_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        f"LOptPES_Adafac_{data}_OuterBS{problems}_Length{horizon}_Trunc{length}": _by_pes(
            inner, problems, horizon, length
        )
        for data, inner in (("Fashion", _FASHION), ("Cifar", _CIFAR))
        for problems, horizon, length in _TRUNCATED
    }
)
