"""Residual networks on ImageNet, of rising cost."""

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.tasks.families.entry import Entry
from celo.meta.tasks.families.image import ImageTask, classifier
from celo.meta.tasks.models import ResNet

_ONE_EACH = (1, 1, 1, 1)


def _resnet(
    size: int,
    batch_size: int,
    channels: tuple[int, int, int, int],
    stem: int,
    blocks: tuple[int, int, int, int] = _ONE_EACH,
    max_pool: bool = True,
) -> ImageTask:
    network = ResNet(blocks, channels, stem, max_pool)
    return classifier("resnet", "imagenet2012", size, network, batch_size, normalization="none")


RESNET_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "Resnet_MultiRuntime_0": _resnet(16, 64, (8, 16, 16, 16), 3),
        "Resnet_MultiRuntime_1": _resnet(16, 64, (8, 16, 16, 32), 3),
        "Resnet_MultiRuntime_2": _resnet(16, 64, (64, 128, 128, 128), 3),
        "Resnet_MultiRuntime_3": _resnet(16, 192, (64, 128, 256, 512), 5),
        "Resnet_MultiRuntime_4": _resnet(16, 192, (128, 256, 512, 512), 5),
        "Resnet_MultiRuntime_5": _resnet(32, 128, (128, 256, 512, 512), 5),
        "Resnet_MultiRuntime_6": _resnet(32, 256, (128, 256, 512, 512), 3),
        "Resnet_MultiRuntime_7": _resnet(32, 256, (256, 512, 512, 1024), 5),
        "Resnet_MultiRuntime_8": _resnet(64, 256, (256, 512, 1024, 1024), 3),
        "Resnet_MultiRuntime_9": _resnet(64, 256, (256, 512, 1024, 1024), 3, (1, 2, 4, 5)),
        "Resnet_MultiRuntime_10": _resnet(64, 256, (256, 512, 1024, 1024), 5, (1, 1, 3, 4), max_pool=False),
    }
)
