"""Image tasks whose gradients are estimated by evolution strategies."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.es_wrapped import ESWrapped
from celo.meta.tasks.families.composite import CompositeTask
from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image_mlp import IMAGE_MLP_TASKS


def _wrapped(name: str, pairs: int) -> CompositeTask:
    build = functools.partial(ESWrapped.of, pairs=pairs)
    return CompositeTask.on("es_wrapped", name, IMAGE_MLP_TASKS[name], build)


_WRAPPED = (
    ("ImageMLP_Cifar10_128x128x128_Relu", 1),
    ("ImageMLP_Cifar10_128x128x128_Relu", 8),
    ("ImageMLP_Mnist_128x128x128_Relu", 1),
    ("ImageMLP_Mnist_128x128x128_Relu", 8),
    ("ImageMLP_FashionMnist8_Relu32", 1),
    ("ImageMLP_Cifar10BW8_Relu32", 1),
)

ES_WRAPPED_TASKS: Mapping[str, Entry] = MappingProxyType(
    {f"ESWrapped_{pairs}pair_{name}": _wrapped(name, pairs) for name, pairs in _WRAPPED}
)
