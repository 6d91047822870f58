"""Optimizers under test: a text becomes an optimizer with the settings it is tried at."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from typing import Any

from celo._core.names import unknown_name
from celo.baselines import HAND_DESIGNED
from celo.checkpoint import load, packaged
from celo.evaluation import makers
from celo.evaluation.grids import Setting, nadamw_trials
from celo.evaluation.makers import Make, Options
from celo.evaluation.options import split_options, written
from celo.evaluation.optlist import optlist
from celo.evaluation.settings import RATE
from celo.evaluation.spec import (
    LISTS,
    SEARCH,
    is_checkpoint,
    is_file,
    is_function,
    label_and_place,
    split_label,
    split_rate,
)
from celo.interop import AmbiguousError
from celo.learned.base import LearnedOptimizer, check_theta
from celo.meta.runs.fingerprint import fingerprint

PyTree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Optimizer:
    """An optimizer with the settings it is tried at.

    Attributes:
        label: its name in tables and figures.
        spec: the text it was made from.
        make: makes it from theta, hyperparameters that may be traced, and the number of steps.
        identity: all of it but theta and settings, in words that last; part of its digest.
        settings: hyperparameters to try; one empty mapping where there are none.
        theta: meta-parameters of a learned optimizer, else ().
        learned: whether it is a learned optimizer.
    """

    label: str
    spec: str
    make: Make
    identity: str
    settings: tuple[Setting, ...] = ({},)
    theta: PyTree = ()
    learned: bool = False

    @property
    def baseline(self) -> bool:
        """Whether it is one of ours that needs no checkpoint and no code of the user."""
        return not self.learned and not self.identity.startswith("function:")

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the optimizer, its options and theta; neither its label nor its settings count."""
        return fingerprint(optimizer=self.identity, theta=self.theta)


def parse(text: str, grid: str = "half_powers", seed: int = 0) -> Optimizer:
    """The optimizer that a text describes, as the command line takes it.

    The text is ``[LABEL=]WHAT`` or ``[LABEL=]WHAT[OPTIONS]``, with WHAT one of

    - ``adam``, or another key of `celo.HAND_DESIGNED`: at every learning rate of the grid;
    - ``adam@1e-3``: at one learning rate;
    - ``nadamw-search:N``: N random trials of NAdamW, see `nadamw_trials`;
    - ``optlist:N``: the first N settings of the published list, see `celo.evaluation.optlist`;
    - ``CHECKPOINT``: a learned optimizer, whatever `celo.load` takes, ``~`` included; ``LABEL:CHECKPOINT`` is
      the same as ``LABEL=CHECKPOINT``. A path of an existing file has no label, even with a colon in it. A
      file that fits several optimizers, such as celo2 and celo2_base, is loaded as the one the label names.
      One that has a learning rate is tried at every rate of the grid;
    - ``module:function``: your own function that returns an optax optimizer, imported with the working folder
      on the path. If it has an argument ``learning_rate``, it is tried at every rate of the grid, or at one
      with ``@RATE``; else at one setting. An argument ``num_steps`` receives the steps of the training. Its
      other arguments need defaults, or values among the options.

    OPTIONS is ``NAME=VALUE,NAME=VALUE|VALUE``: options of the optimizer, ``lr`` (numbers, or ``grid``),
    ``schedule`` (a key of `celo.schedules.SCHEDULES`) with its options, and ``prompt``, the number of steps
    the optimizer is told over the number it takes. Several values make a grid: every combination is a
    setting.

    Args:
        text: the text.
        grid: a key of `GRIDS`.
        seed: seed of the random trials.

    Returns:
        The optimizer; its label is LABEL, or the text.

    Raises:
        ValueError: an unknown optimizer, option or schedule, a number out of range, a damaged checkpoint, a
            function with the wrong arguments, or a label that `check_label` refuses.
        FileNotFoundError: no such checkpoint.

    Example:
        >>> len(parse("sgd").settings), parse("adam@1e-3").settings, parse("optax:adam@1e-3").settings
        (14, ({'learning_rate': 0.001},), ({'learning_rate': 0.001},))
        >>> parse("mine:celo").label, parse("mine=optax:lion").label
        ('mine', 'mine')
        >>> len(parse("adamw[lr=1e-3|1e-2,weight_decay=0|0.01|0.1,schedule=cosine,warmup=0.05]").settings)
        6
    """
    label, described = split_label(text)
    what, options = split_options(described)
    name, rate = split_rate(text, what)
    if rate is not None:
        if {RATE, "lr"} & options.keys():
            raise ValueError(f"{text!r} has two learning rates; expected NAME@RATE or NAME[lr=RATE]")
        options = {"lr": (rate,), **options}
    if name in HAND_DESIGNED:
        made = makers.from_name(name, options, grid)
    elif (kind := what.partition(":")[0]) in LISTS and not is_file(what):
        made = makers.from_trials(_trials(kind, what, text, options, seed))
    else:
        colon_label, place = label_and_place(what)
        if not (is_function(name) and not is_checkpoint(label_and_place(name)[1])):
            names = tuple(dict.fromkeys((label or colon_label, colon_label)))
            label = label or f"{colon_label}{written(options)}"
            check_label(label)
            return learned_optimizer(label, *_load(what, names, place), text, options, grid)
        made = makers.from_function(name, options, grid)
        label = label or text
    if label:
        check_label(label)
    return Optimizer(label or text, text, *made)


def learned_optimizer(
    label: str,
    learned: LearnedOptimizer,
    theta: PyTree,
    spec: str = "",
    options: Options | None = None,
    grid: str = "half_powers",
) -> Optimizer:
    """A learned optimizer under test; one with a learning rate is tuned over the grid.

    Raises:
        ValueError: theta does not fit the optimizer, it does not take an option, or `check_label` refuses the
            label.
    """
    check_label(label)
    check_theta(learned, theta)
    made = makers.from_learned(learned, theta, options or {}, grid, label.partition("[")[0])
    return Optimizer(label, spec or label, *made, theta=theta, learned=True)


def check_label(label: str) -> None:
    """Refuse a label that a report cannot print on a line, or would take for a baseline.

    Raises:
        ValueError: it is empty or holds control characters or line breaks; or it is the name of a
            hand-designed optimizer, with a rate, options or an asterisk behind it or not; or it begins as a
            list of settings does.

    Example:
        >>> check_label("celo_adam")
        >>> check_label("Adam")
        Traceback (most recent call last):
        ...
        ValueError: the label 'Adam' is the name of a baseline; give it another one, as in mine=CHECKPOINT
    """
    if not label.strip() or not label.isprintable():
        raise ValueError(f"the label {label!r} is empty or holds control characters or line breaks")
    folded = label.strip().casefold()
    if re.split(r"[@*[]", folded)[0].strip() in HAND_DESIGNED or folded.startswith(LISTS):
        raise ValueError(
            f"the label {label!r} is the name of a baseline; give it another one, as in mine=CHECKPOINT"
        )


def _trials(kind: str, what: str, text: str, options: Options, seed: int) -> tuple[Setting, ...]:
    """The settings of ``nadamw-search:N`` or ``optlist:N``."""
    count = what.partition(":")[2]
    if not (count.isascii() and count.isdecimal() and len(count) < 9):
        raise ValueError(f"the number of settings of {text!r} is {count!r}; expected {kind}:N")
    if options:
        raise ValueError(f"{kind} takes no options, got {', '.join(options)}: its settings hold them all")
    return nadamw_trials(int(count), seed) if kind == SEARCH else optlist(int(count))


def _load(spec: str, labels: tuple[str, ...], place: str) -> tuple[LearnedOptimizer, PyTree]:
    """`celo.load` of a place, ``~`` included; of several optimizers that fit it, the one a label names."""
    nor = "" if place == spec else f" Nor is there a file {spec!r}"
    if not is_checkpoint(place):
        known = [*packaged(), *(() if ":" in spec else (*HAND_DESIGNED, *(f"{one}:N" for one in LISTS)))]
        error = unknown_name("checkpoint" if nor else "optimizer", place, known)
        raise ValueError(f"{error}{nor}, nor a module {spec.partition(':')[0]!r}.") if nor else error
    file = os.path.expanduser(place)
    try:
        return load(file)
    except AmbiguousError as error:
        name = next((label for label in labels if label in error.fitting), None)
        if name is None:
            raise
        return load(file, name=name)
    except FileNotFoundError as error:
        if not nor or place.startswith("hf://"):
            raise
        raise FileNotFoundError(f"{error}{nor}.") from error
