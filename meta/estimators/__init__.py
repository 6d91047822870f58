"""Estimators of the meta-gradient, behind one interface (`Antithetic`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.estimators.antithetic import Antithetic, EstimatorState
from celo.meta.estimators.backprop import Backprop
from celo.meta.estimators.es import PES, ESSingle, FullES, TruncatedES
from celo.meta.estimators.schedule_es import ScheduleES
from celo.meta.estimators.summary import Report, Summary

ESTIMATORS: Mapping[str, type[Antithetic]] = MappingProxyType(
    {
        "pes": PES,
        "es_single": ESSingle,
        "truncated_es": TruncatedES,
        "full_es": FullES,
        "backprop": Backprop,
        "schedule_es": ScheduleES,
    }
)

__all__ = [
    "ESTIMATORS",
    "PES",
    "Antithetic",
    "Backprop",
    "ESSingle",
    "EstimatorState",
    "FullES",
    "Report",
    "ScheduleES",
    "Summary",
    "TruncatedES",
]
