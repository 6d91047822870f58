"""Who takes part in an evaluation: an optimizer with the hyperparameters it is tried with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo.checkpoint import load, packaged
from celo.hand_designed import HAND_DESIGNED
from celo.learned.base import LearnedOptimizer, check_theta
from celo.names import unknown_name
from evaluation.hyperparameters import Configuration, learning_rates, nadamw_trials
from evaluation.rules import HandDesigned, Learned, Rule, ScheduledNAdamW

PyTree = Any
SEARCH = "nadamw-search"


@dataclasses.dataclass(frozen=True, eq=False)
class Contestant:
    """An optimizer with the hyperparameters it is tried with.

    Attributes:
        label: what to call it.
        rule: how to make it.
        configurations: the hyperparameters; one empty mapping where there are none.
        theta: meta-parameters of a learned optimizer, else ().
        spec: the text it was made of, "" if none.
    """

    label: str
    rule: Rule
    configurations: tuple[Configuration, ...] = ({},)
    theta: PyTree = ()
    spec: str = ""

    @property
    def learned(self) -> bool:
        """Whether it is a learned optimizer, hence not tuned on the task."""
        return isinstance(self.rule, Learned)


def learned_contestant(label: str, learned: LearnedOptimizer, theta: PyTree, spec: str = "") -> Contestant:
    """A learned optimizer as a contestant.

    Raises:
        ValueError: theta does not fit the optimizer.
    """
    check_theta(learned, theta)
    return Contestant(label, Learned(learned), theta=theta, spec=spec)


def contestant(spec: str, grid: str = "half_powers", seed: int = 0) -> Contestant:
    """A contestant from a text, as the command line has it.

    Args:
        spec: one of

            - ``adam``, or another key of `celo.HAND_DESIGNED`: at every learning rate of the grid;
            - ``adam@1e-3``: at one learning rate;
            - ``nadamw-search:N``: N random trials of NAdamW, see `nadamw_trials`;
            - ``LABEL:CHECKPOINT``, or a CHECKPOINT alone: whatever `celo.load` takes. What is the path of a
              file has no label, whether there is a colon in it or not.
        grid: a key of `evaluation.hyperparameters.GRIDS`.
        seed: of the random trials.

    Returns:
        The contestant; its label is LABEL, or the text.

    Raises:
        ValueError: an unknown optimizer, a rate or number of trials out of range, a damaged checkpoint.
        FileNotFoundError: no such checkpoint.

    Example:
        >>> len(contestant("sgd").configurations), contestant("adam@1e-3").configurations
        (14, ({'learning_rate': 0.001},))
        >>> contestant("mine:celo").label
        'mine'
    """
    if Path(spec).is_file():
        return learned_contestant(spec, *load(spec), spec)
    if spec in HAND_DESIGNED:
        return Contestant(spec, HandDesigned(spec), learning_rates(grid), spec=spec)
    name, at, rate = spec.partition("@")
    if at and ":" not in name and "/" not in name:
        return _at_one_rate(spec, name, rate)
    label, colon, place = spec.partition(":")
    if label == SEARCH:
        return Contestant(spec, ScheduledNAdamW(), nadamw_trials(_trials(spec, place), seed), spec=spec)
    if not colon or place.startswith("//"):
        label, place = spec, spec
    if not label or not place:
        raise ValueError(f"the optimizer {spec!r} is neither a name nor LABEL:CHECKPOINT")
    _check_known(spec, place)
    return learned_contestant(label, *load(place), spec)


def check_different(contestants: Sequence[Contestant]) -> None:
    """Refuses no contestant at all, and labels that are equal, or would be as file names on any system.

    Raises:
        ValueError: naming the labels.
    """
    if not contestants:
        raise ValueError("an evaluation needs at least one optimizer, got none")
    labels = [one.label for one in contestants]
    if len({label.lower() for label in labels}) < len(labels):
        raise ValueError(f"the optimizers of an evaluation need different labels, got {', '.join(labels)}")


def _check_known(spec: str, place: str) -> None:
    """Refuses a word that is neither packaged weights nor anything else, naming what there is."""
    plain = "/" not in place and not Path(place).suffix and not Path(place).is_file()
    if plain and place not in packaged():
        known = [*packaged(), *(() if ":" in spec else (*HAND_DESIGNED, f"{SEARCH}:N"))]
        raise unknown_name("optimizer" if place == spec else "checkpoint", place, known)


def _at_one_rate(spec: str, name: str, rate: str) -> Contestant:
    if name not in HAND_DESIGNED:
        raise unknown_name("hand-designed optimizer", name, HAND_DESIGNED)
    try:
        number = float(rate)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ValueError(f"the learning rate of {spec!r} is {rate!r}; expected a positive finite number")
    return Contestant(spec, HandDesigned(name), ({"learning_rate": number},), spec=spec)


def _trials(spec: str, count: str) -> int:
    if not count.isdecimal():
        raise ValueError(f"the number of trials of {spec!r} is {count!r}; expected {SEARCH}:N")
    return int(count)
