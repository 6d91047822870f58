"""Intervals of a few values, against tables of Student's t."""

import math

import numpy as np
import pytest

from celo.meta.intervals import mean_interval


def quantile(degrees, **options):
    """The quantile behind the interval of ``degrees + 1`` values whose mean has a standard error of 1."""
    values = np.arange(degrees + 1.0)
    values *= np.sqrt(degrees + 1) / np.std(values, ddof=1)
    mean, low, high = mean_interval(values, **options)
    assert mean - low == pytest.approx(high - mean)
    return high - mean


# Two-sided 95% points, as printed in tables.
@pytest.mark.parametrize(
    ("degrees", "t"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042)],
)
def test_quantiles_are_those_of_the_tables(degrees, t):
    assert quantile(degrees) == pytest.approx(t, abs=5e-4)


def test_other_confidences():
    assert quantile(2, confidence=0.99) == pytest.approx(9.925, abs=5e-4)
    assert quantile(1, confidence=0.5) == pytest.approx(1.0)


def test_one_value_has_no_interval_and_none_no_mean():
    mean, low, high = mean_interval([2.0])
    assert (mean, math.isnan(low), math.isnan(high)) == (2.0, True, True)
    assert math.isnan(mean_interval([1.0, math.inf]).low)
    with pytest.raises(ValueError, match=r"shape \(0,\); expected \(n,\) with n >= 1"):
        mean_interval([])
