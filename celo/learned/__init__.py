"""The learned optimizers, one file each, and their registry."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from celo.learned.base import LearnedOptimizer
from celo.learned.celo import Celo

LEARNED: Mapping[str, Callable[..., LearnedOptimizer]] = MappingProxyType({"celo": Celo})
