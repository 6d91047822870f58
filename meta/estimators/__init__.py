"""Estimators of the meta-gradient, behind one interface (`Antithetic`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.estimators.antithetic import Antithetic, EstimatorState, Summary, Weights
from celo.meta.estimators.full_es import FullES
from celo.meta.estimators.pes import PES, pes_weights
from celo.meta.estimators.truncated_es import TruncatedES

ESTIMATORS: Mapping[str, type[Antithetic]] = MappingProxyType(
    {"pes": PES, "truncated_es": TruncatedES, "full_es": FullES}
)

__all__ = [
    "ESTIMATORS",
    "PES",
    "Antithetic",
    "EstimatorState",
    "FullES",
    "Summary",
    "TruncatedES",
    "Weights",
    "pes_weights",
]
