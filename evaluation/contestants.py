"""Who takes part in an evaluation: an optimizer with the hyperparameters it is tried with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo._core.names import unknown_name
from celo.baselines import HAND_DESIGNED
from celo.checkpoint import load, packaged
from celo.evaluation.hyperparameters import Configuration, learning_rates, nadamw_trials
from celo.evaluation.labels import SEARCH, check_label
from celo.evaluation.rules import HandDesigned, Learned, Rule, ScheduledNAdamW
from celo.interop import AmbiguousError
from celo.learned.base import LearnedOptimizer, check_theta
from celo.meta.runs.fingerprint import fingerprint

PyTree = Any


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

    @property
    def digest(self) -> str:
        """Tells optimizers apart whatever they are called: SHA-256 of rule, configurations and theta."""
        configurations = repr([sorted(one.items()) for one in self.configurations])
        return fingerprint(rule=repr(self.rule), configurations=configurations, theta=self.theta)


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
            - ``LABEL:CHECKPOINT``, or a CHECKPOINT alone: whatever `celo.load` takes, ``~`` included. What is
              the path of a file has no label, whether there is a colon in it or not. A file that may be of
              several optimizers, as celo2 and celo2_base have it, is of the one that the label names.
        grid: a key of `celo.evaluation.hyperparameters.GRIDS`.
        seed: of the random trials.

    Returns:
        The contestant; its label is LABEL, or the text.

    Raises:
        ValueError: an unknown optimizer, a rate or number of trials out of range, a damaged checkpoint, or a
            label that `celo.evaluation.labels.check_label` refuses.
        FileNotFoundError: no such checkpoint.

    Example:
        >>> len(contestant("sgd").configurations), contestant("adam@1e-3").configurations
        (14, ({'learning_rate': 0.001},))
        >>> contestant("mine:celo").label
        'mine'
    """
    if spec in HAND_DESIGNED:
        return Contestant(spec, HandDesigned(spec), learning_rates(grid), spec=spec)
    if not _is_file(spec):
        name, at, rate = spec.partition("@")
        if at and ":" not in spec and "/" not in spec:
            return _at_one_rate(spec, name, rate)
        name, _, count = spec.partition(":")
        if name == SEARCH:
            return Contestant(spec, ScheduledNAdamW(), nadamw_trials(_trials(spec, count), seed), spec=spec)
    label, place = label_and_place(spec)
    check_label(label)
    return learned_contestant(label, *_load(spec, label, place), spec)


def anywhere(spec: str) -> str:
    """The text of an optimizer that means the same, with the same label, in any working folder.

    Args:
        spec: as for `contestant`.

    Returns:
        The text with the path of a checkpoint's file made absolute. A file given without a label, by a
        relative path with a colon in it, stays as it is: no label can hold the colon.

    Example:
        >>> anywhere("adam@1e-3"), anywhere("mine:celo"), anywhere("mine:hf://amoudgl/celo")
        ('adam@1e-3', 'mine:celo', 'mine:hf://amoudgl/celo')
    """
    if spec in HAND_DESIGNED or spec.startswith(f"{SEARCH}:"):
        return spec
    label, place = label_and_place(spec)
    if place in packaged() or not _is_file(place):
        return spec
    absolute = os.path.abspath(os.path.expanduser(place))
    alone = place == spec
    return spec if alone and (":" in spec or place == absolute) else f"{label}:{absolute}"


def check_different(contestants: Sequence[Contestant]) -> None:
    """Refuses no contestant at all, and labels that mislead.

    Raises:
        ValueError: labels are equal, or would be as file names on any system; or a learned optimizer has one
            that `celo.evaluation.labels.check_label` refuses.
    """
    if not contestants:
        raise ValueError("an evaluation needs at least one optimizer, got none")
    for one in contestants:
        if one.learned:
            check_label(one.label)
    labels = [one.label for one in contestants]
    if len({label.lower() for label in labels}) < len(labels):
        raise ValueError(f"the optimizers of an evaluation need different labels, got {', '.join(labels)}")


def _is_file(place: str) -> bool:
    # Not a path longer than the system allows, which would be an error rather than no file.
    return os.path.isfile(os.path.expanduser(place))


def label_and_place(spec: str) -> tuple[str, str]:
    """Label and checkpoint of LABEL:CHECKPOINT, or twice the CHECKPOINT that stands alone.

    Raises:
        ValueError: one of the two is empty.
    """
    label, colon, place = spec.partition(":")
    if not colon or place.startswith("//") or _is_file(spec):
        return spec, spec
    if not label or not place:
        raise ValueError(f"the optimizer {spec!r} is neither a name nor LABEL:CHECKPOINT")
    return label, place


def load_labelled(label: str, place: str) -> tuple[LearnedOptimizer, PyTree]:
    """`celo.load` of a place, ``~`` included; of several optimizers that fit it, the one the label names.

    Raises:
        celo.interop.AmbiguousError: several fit, and the label names none of them.
        FileNotFoundError, ConnectionError, ValueError: as `celo.load`.
    """
    file = os.path.expanduser(place)
    try:
        return load(file)
    except AmbiguousError as error:
        if label not in error.fitting:
            raise
        return load(file, name=label)


def _load(spec: str, label: str, place: str) -> tuple[LearnedOptimizer, PyTree]:
    """The checkpoint; what is not there is said with all of the text, which may be a path with a colon."""
    plain = "/" not in place and not Path(place).suffix and not _is_file(place)
    if plain and place not in packaged():
        known = [*packaged(), *(() if ":" in spec else (*HAND_DESIGNED, f"{SEARCH}:N"))]
        error = unknown_name("optimizer" if place == spec else "checkpoint", place, known)
        raise error if place == spec else ValueError(f"{error} Nor is there a file {spec!r}.")
    try:
        return load_labelled(label, place)
    except FileNotFoundError as error:
        if place == spec or place.startswith("hf://"):
            raise
        raise FileNotFoundError(f"{error} Nor is there a file {spec!r}.") from error


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
