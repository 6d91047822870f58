"""A sweep over outer learning rates and seeds of a recipe, and the choice among its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from celo.meta.intervals import Interval, mean_interval
from celo.meta.presets import PAPER_RATES
from celo.meta.recipe import Recipe
from celo.meta.selection import Selected, check_validation
from celo.meta.trials import Trial

# Celo paper, appendix A: 3 seeds x these.
RATES = (3e-5, 5e-5, 1e-4, 3e-4, 1e-3)
_AROUND = (0.1, 0.3, 1.0, 3.0, 10.0)


def default_rates(optimizer: str) -> tuple[float, ...]:
    """The outer learning rates to try: the paper's five, or five around an optimizer's published one.

    Example:
        >>> default_rates("celo"), default_rates("nn_adam")
        ((3e-05, 5e-05, 0.0001, 0.0003, 0.001), (3e-06, 9e-06, 3e-05, 9e-05, 0.0003))
    """
    centre = PAPER_RATES.get(optimizer)
    return RATES if centre is None else tuple(float(f"{factor * centre:.2g}") for factor in _AROUND)


def label(rate: float, seed: int) -> str:
    """Name of the run folder of a rate and a seed.

    >>> label(3e-4, 1)
    'rate0.0003.1'
    """
    return f"rate{rate:g}.{seed}"


def trials(recipe: Recipe, rates: Sequence[float], seeds: Sequence[int]) -> dict[tuple[float, int], Trial]:
    """The meta-trainings of a sweep by rate and seed, all rates of a seed before the next seed.

    Args:
        recipe: what all have in common; a rate is that of all its stages.
        rates: outer learning rates.
        seeds: seeds of meta-training.

    Raises:
        ValueError: no rates or seeds, one twice or so close to another that their labels are equal, a rate
            that is not positive, or no stage that reads a rate; or as `check_validation`.
    """
    for name, values in ("rates", rates), ("seeds", seeds):
        if not values or len({f"{value:g}" for value in values}) < len(values):
            raise ValueError(f"{name} is {tuple(values)}; expected one or more, all different")
    if all(stage.outer for stage in recipe.stages):
        raise ValueError("every stage has a learned outer optimizer, which reads no rate; expected AdamW")
    check_validation(recipe)
    return {
        (rate, seed): Trial(
            label(rate, seed),
            dataclasses.replace(recipe.change_stages({"learning_rate": rate}), seed=seed),
        )
        for seed in seeds
        for rate in rates
    }


class Rate(NamedTuple):
    """What the runs of one rate are worth.

    Attributes:
        rate: the outer learning rate.
        seeds: seeds of the finished runs.
        loss: mean validation loss over the seeds.
        behind: mean of the paired differences to the chosen rate, over the seeds that both have; above 0 is
            worse. None for the chosen rate.
    """

    rate: float
    seeds: tuple[int, ...]
    loss: Interval
    behind: Interval | None


class Choice(NamedTuple):
    """The chosen rate, its best run, and every rate in order."""

    rate: float
    seed: int
    rates: tuple[Rate, ...]


def choose(selected: Mapping[tuple[float, int], Selected]) -> Choice:
    """The rate with the lowest mean validation loss over seeds, and its seed with the lowest.

    A rate with fewer finished seeds than another is not chosen.

    Args:
        selected: what each finished run is worth, by rate and seed.

    Raises:
        ValueError: no runs.
    """
    if not selected:
        raise ValueError("there is no finished run to choose from")
    by_rate: dict[float, dict[int, float]] = {}
    for (rate, seed), one in sorted(selected.items()):
        by_rate.setdefault(rate, {})[seed] = one.mean
    most = max(map(len, by_rate.values()))
    means = {rate: mean_interval(list(losses.values())) for rate, losses in by_rate.items()}
    chosen = min((rate for rate in means if len(by_rate[rate]) == most), key=lambda rate: means[rate].mean)
    best = by_rate[chosen]

    def behind(losses: Mapping[int, float]) -> Interval | None:
        both = [losses[seed] - best[seed] for seed in losses if seed in best]
        return mean_interval(both) if both and losses is not best else None

    rates = [Rate(rate, tuple(own), means[rate], behind(own)) for rate, own in by_rate.items()]
    return Choice(chosen, min(best, key=lambda seed: best[seed]), tuple(rates))
