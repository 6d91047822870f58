"""Sampled tasks by name: the family, the number of the configuration, the number of the scalars."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax

from celo._core.names import lookup
from celo.meta.data.catalog import IMAGE_DATASETS, TEXT_DATASETS
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.sampled.deep_images import ResNetFamily, ViTFamily
from celo.meta.tasks.sampled.family import Family
from celo.meta.tasks.sampled.images import (
    ImageAutoencoderFamily,
    ImageConvFamily,
    ImageMLPFamily,
    ImageVAEFamily,
)
from celo.meta.tasks.sampled.learned import LearnedFamily
from celo.meta.tasks.sampled.texts import LM_DATASETS, LanguageFamily, RecurrentLMFamily, TransformerLMFamily

PREFIX = "sampled:"

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "image_mlp": ImageMLPFamily(),
        "image_conv": ImageConvFamily(),
        "image_mlp_ae": ImageAutoencoderFamily(),
        "image_mlp_vae": ImageVAEFamily(),
        "vit": ViTFamily(),
        "lm_rnn": RecurrentLMFamily(),
        "lm_transformer": TransformerLMFamily(),
        "image_resnet": ResNetFamily(),
        "lopt": LearnedFamily(),
    }
)
"""Families of sampled tasks by name, with the published ranges."""

_NAME = re.compile(r"sampled:(?P<family>\w+)/(?P<number>\d{1,9})(\.(?P<leaves>\d{1,9}))?(@(?P<dataset>\w+))?")


def is_sampled(name: str) -> bool:
    """Whether a name is meant for a sampled task."""
    return name.startswith(PREFIX) and "/" in name


def find_sampled(name: str) -> Entry:
    """Make the entry of a name ``sampled:FAMILY/NUMBER[.SCALARS][@DATASET]``; nothing is loaded.

    NUMBER is the seed of the configuration, SCALARS (0 if left out) of what is chosen inside the graph: tasks
    that differ in SCALARS alone share compiled programs. DATASET replaces the one drawn.

    ValueError for another form, or an unknown family or dataset.

    Example:
        >>> find_sampled("sampled:image_mlp/17@digits").parameter_shapes()["linear_0"]["w"].shape
        (36, 10)
    """
    family, number, leaves, _ = _parse(name)
    key_dynamic = jax.random.split(jax.random.key(number))[1]
    dynamic = family.draw(jax.random.fold_in(key_dynamic, leaves))
    return family.entry(configuration_of(name), dynamic)


def configuration_of(name: str) -> dict[str, Any]:
    """Draw the configuration that a name stands for; errors as of `find_sampled`.

    Example:
        >>> configuration_of("sampled:image_mlp/17@digits")["image_size"]
        6
    """
    family, number, _, dataset = _parse(name)
    configuration = family.configure(jax.random.split(jax.random.key(number))[0])
    return configuration | ({"dataset": dataset} if dataset else {})


def check_sampled(name: str) -> None:
    """Check a name as `find_sampled` does, without computing anything: no device of JAX is started."""
    _parse(name)


def _parse(name: str) -> tuple[Family, int, int, str]:
    """Family, number of the configuration, number of the scalars, and dataset or ""."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"A sampled task is named sampled:FAMILY/NUMBER, such as sampled:image_mlp/17, with .SCALARS and "
            f"@DATASET if wanted; got {name!r}"
        )
    family = lookup("family of sampled tasks", match["family"], FAMILIES)
    dataset = match["dataset"] or ""
    if dataset:
        of_text = isinstance(family, LanguageFamily)
        known = {*TEXT_DATASETS, *LM_DATASETS} if of_text else IMAGE_DATASETS
        lookup("dataset", dataset, dict.fromkeys(known))
    return family, int(match["number"]), int(match["leaves"] or 0), dataset


def sampled_names(family: str, number: int, count: int, dataset: str = "") -> tuple[str, ...]:
    """Names of tasks of one configuration that differ in their scalars, which are trained in one batch.

    Example:
        >>> sampled_names("image_mlp", 17, 2, "digits")
        ('sampled:image_mlp/17.0@digits', 'sampled:image_mlp/17.1@digits')
    """
    lookup("family of sampled tasks", family, FAMILIES)
    suffix = f"@{dataset}" if dataset else ""
    return tuple(f"{PREFIX}{family}/{number}.{leaves}{suffix}" for leaves in range(count))
