"""Baselines and budgets of Rezk et al. 2023 (arXiv 2310.18191): fixed rates, prompts, other machines.

The baselines take no tuning. As optimizers under test they are ``LABEL=celo.evaluation.rezk2023:adam`` and so
on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optax

SPAN, WARMUP, LAST_RATE = 0.75, 0.05, 1e-4


def schedule(peak: float, num_steps: int) -> optax.Schedule:
    """Linear warm-up over 5% of the schedule, then half a cosine to 1e-4, over 75% of the steps.

    It stays at 1e-4 after that.

    Args:
        peak: the highest rate.
        num_steps: steps of the training.

    Raises:
        ValueError: num_steps is below 1.

    Source: Rezk et al. 2023 (arXiv 2310.18191), table 8.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected 1 or more")
    steps = max(1, round(SPAN * num_steps))
    return optax.warmup_cosine_decay_schedule(0.0, peak, int(WARMUP * steps), steps, LAST_RATE)


def adam(num_steps: int) -> optax.GradientTransformation:
    """Adam at 5e-3 with the schedule."""
    return optax.adam(schedule(5e-3, num_steps), b1=0.9, b2=0.999)


def nadam(num_steps: int) -> optax.GradientTransformation:
    """Adam with Nesterov momentum at 1e-2 with the schedule."""
    return optax.nadam(schedule(1e-2, num_steps), b1=0.9, b2=0.999)


def nadamw(num_steps: int) -> optax.GradientTransformation:
    """NAdam at 1e-2 with the schedule and a decoupled weight decay of 4e-3."""
    return optax.nadamw(schedule(1e-2, num_steps), b1=0.9, b2=0.999, weight_decay=4e-3)


def heavy_ball() -> optax.GradientTransformation:
    """Gradient descent at 5e-2 with momentum 0.9."""
    return optax.sgd(5e-2, momentum=0.9)


def nesterov() -> optax.GradientTransformation:
    """Gradient descent at 5e-2 with Nesterov momentum 0.9."""
    return optax.sgd(5e-2, momentum=0.9, nesterov=True)


def prompt(budget: float, step_seconds: Sequence[float], fraction: float = 1.0) -> int:
    """Steps to tell a learned optimizer: ``fraction * mean over estimates of budget / step_seconds``.

    Each estimate is of a training of 5% of the budget, compilation left out, such as ``step_seconds`` of a
    row. The paper takes two, and ``fraction`` 0.75 for "VeLO Short".

    Args:
        budget: seconds of the whole training.
        step_seconds: seconds per step of each short training.
        fraction: part of the steps to tell.

    Returns:
        A number of steps, rounded down, 1 or more.

    Raises:
        ValueError: without estimates, or a number is not positive and finite.

    Example:
        >>> prompt(100.0, [0.1, 0.125]), prompt(100.0, [0.1, 0.125], fraction=0.75)
        (900, 675)

    Source: Rezk et al. 2023 (arXiv 2310.18191), appendix B.
    """
    _positive("budget", budget)
    _positive("fraction", fraction)
    if not step_seconds:
        raise ValueError("a prompt needs the seconds per step of one or more short trainings, got none")
    for one in step_seconds:
        _positive("step_seconds", one)
    return max(1, math.floor(fraction * float(np.mean([budget / one for one in step_seconds]))))


def transferred_budget(budget: float, step_seconds_there: float, step_seconds_here: float) -> float:
    """A budget of another machine in seconds here: ``budget * step_seconds_here / step_seconds_there``.

    The same optimizer and task, timed on both machines, give the seconds per step; the budget then has as
    many of its steps here as there. Compilation is left out of both.

    Example:
        >>> transferred_budget(1000.0, step_seconds_there=0.2, step_seconds_here=0.5)
        2500.0

    Compare Rezk et al. 2023 (arXiv 2310.18191), appendix A.
    """
    _positive("budget", budget)
    _positive("step_seconds_there", step_seconds_there)
    _positive("step_seconds_here", step_seconds_here)
    return budget * step_seconds_here / step_seconds_there


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; expected a finite number above 0")
