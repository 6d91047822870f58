"""MLP-Mixers."""

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask, classifier
from celo.meta.tasks.models import MLPMixer

_TINY = MLPMixer(width=512, token_width=384, channel_width=2048, depth=5)
_SMALL = MLPMixer(width=768, token_width=384, channel_width=3072, depth=8)


def _mixer(dataset: str, size: int | None, network: MLPMixer, batch_size: int = 128) -> ImageTask:
    return classifier("mlp_mixer", dataset, size, network, batch_size, normalization="relative")


MLP_MIXER_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "MLPMixer_Cifar100_small16": _mixer("cifar100", None, _SMALL),
        "MLPMixer_Cifar100_tiny16": _mixer("cifar100", None, _TINY),
        "MLPMixer_Cifar100_bs256_tiny16": _mixer("cifar100", None, _TINY, 256),
        "MLPMixer_Food101_64_small16": _mixer("food101", 64, _SMALL),
        "MLPMixer_Food101_64_tiny16": _mixer("food101", 64, _TINY),
        "MLPMixer_Food101_64_bs256_tiny16": _mixer("food101", 64, _TINY, 256),
        "MLPMixer_ImageNet64_small16": _mixer("imagenet2012", 64, _SMALL),
        "MLPMixer_ImageNet64_tiny16": _mixer("imagenet2012", 64, _TINY),
        "MLPMixer_ImageNet64_bs256_tiny16": _mixer("imagenet2012", 64, _TINY, 256),
    }
)
