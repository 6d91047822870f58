"""The scores that the Celo paper (arXiv 2501.12670) reports for rows of the grid, from ``published.toml``."""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FILE = Path(__file__).with_name("published.toml")


@dataclasses.dataclass(frozen=True)
class Published:
    """Scores over the paper's 17 tasks; NaN for what it does not report.

    Attributes:
        source: the table.
        iqm: interquartile mean of the final-loss score.
        median: median of the final-loss score.
        gap: optimality gap of the final-loss score.
        speedup_iqm: interquartile mean of the speedup by first crossing.
        speedup_median: median of that speedup.
        speedup_gap: optimality gap of that speedup.
    """

    source: str = ""
    iqm: float = math.nan
    median: float = math.nan
    gap: float = math.nan
    speedup_iqm: float = math.nan
    speedup_median: float = math.nan
    speedup_gap: float = math.nan


@functools.cache
def published() -> Mapping[str, Published]:
    """Name of a row to the paper's scores; read-only.

    Example:
        >>> published()["linear"].iqm, published()["linear"].source
        (1.07, 'table 3e')
    """
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return MappingProxyType({name: Published(**scores) for name, scores in found.items()})
