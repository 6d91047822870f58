"""`celo benchmark meta`: the yardstick."""

import math

import numpy as np

from celo.scripts.benchmarks import meta


def test_the_yardstick_is_64_independent_trainings():
    _, family = meta.paper_program(1, 1)
    losses = meta.yardstick(family)()
    assert losses.shape == (64, 50)
    assert np.isfinite(losses).all()
    assert len(np.unique(losses[:, 0])) == 64
    assert abs(losses[:, 0].mean() - math.log(10)) < 1.0
