"""Estimators of the meta-gradient, behind one interface (`Antithetic`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.estimators.antithetic import Antithetic, EstimatorState, Summary, Weights
from celo.meta.estimators.es import PES, FullES, TruncatedES, pes_weights

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
