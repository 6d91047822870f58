"""Vision transformers."""

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask, classifier
from celo.meta.tasks.models import VisionTransformer

_WIDE = VisionTransformer(width=384, mlp_width=1536, heads=6, depth=6)
_DEEP = VisionTransformer(width=128, mlp_width=512, heads=4, depth=10)


def _vit(dataset: str, size: int | None, network: VisionTransformer) -> ImageTask:
    return classifier("vit", dataset, size, network, normalization="relative")


VIT_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "VIT_Cifar100_wideshallow": _vit("cifar100", None, _WIDE),
        "VIT_Cifar100_skinnydeep": _vit("cifar100", None, _DEEP),
        "VIT_Food101_64_wideshallow": _vit("food101", 64, _WIDE),
        "VIT_Food101_64_skinnydeep": _vit("food101", 64, _DEEP),
        "VIT_ImageNet64_wideshallow": _vit("imagenet2012", 64, _WIDE),
        "VIT_ImageNet64_skinnydeep": _vit("imagenet2012", 64, _DEEP),
    }
)
