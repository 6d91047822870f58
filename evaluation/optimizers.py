"""Optimizers under test: a text becomes an optimizer with the settings it is tried at."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import optax

from celo._core.names import unknown_name
from celo.baselines import HAND_DESIGNED, hand_designed
from celo.checkpoint import load, packaged
from celo.evaluation.grids import Setting, learning_rates, nadamw_trials
from celo.evaluation.spec import (
    SEARCH,
    add_working_folder,
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
from celo.schedules import cosine_learning_rate

PyTree = Any
Make = Callable[[PyTree, Mapping[str, Any], int], optax.GradientTransformation]


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
        learned: whether it is a learned optimizer, hence not tuned on the task.
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

    The text is ``[LABEL=]WHAT``, with WHAT one of

    - ``adam``, or another key of `celo.HAND_DESIGNED`: at every learning rate of the grid;
    - ``adam@1e-3``: at one learning rate;
    - ``nadamw-search:N``: N random trials of NAdamW, see `nadamw_trials`;
    - ``CHECKPOINT``: a learned optimizer, whatever `celo.load` takes, ``~`` included; ``LABEL:CHECKPOINT`` is
      the same as ``LABEL=CHECKPOINT``. A path of an existing file has no label, even with a colon in it. A
      file that fits several optimizers, such as celo2 and celo2_base, is loaded as the one the label names;
    - ``module:function``: your own function that returns an optax optimizer, imported with the working folder
      on the path. If it has an argument ``learning_rate``, it is tried at every rate of the grid, or at one
      with ``@RATE``; else at one setting. An argument ``num_steps`` receives the steps of the training. Its
      other arguments need defaults.

    Args:
        text: the text.
        grid: a key of `GRIDS`.
        seed: seed of the random trials.

    Returns:
        The optimizer; its label is LABEL, or the text.

    Raises:
        ValueError: an unknown optimizer, a rate or number of trials out of range, a damaged checkpoint, a
            function with the wrong arguments, or a label that `check_label` refuses.
        FileNotFoundError: no such checkpoint.

    Example:
        >>> len(parse("sgd").settings), parse("adam@1e-3").settings, parse("optax:adam@1e-3").settings
        (14, ({'learning_rate': 0.001},), ({'learning_rate': 0.001},))
        >>> parse("mine:celo").label, parse("mine=optax:lion").label
        ('mine', 'mine')
    """
    label, what = split_label(text)
    name, rate = split_rate(text, what)
    if name in HAND_DESIGNED:
        made = _hand_designed(name, text, _rates(grid, rate))
    elif what.startswith(f"{SEARCH}:") and not is_file(what):
        made = _search(what, text, seed)
    else:
        colon_label, place = label_and_place(what)
        if not (is_function(name) and not is_checkpoint(label_and_place(name)[1])):
            label = label or colon_label
            check_label(label)
            return learned_optimizer(label, *_load(what, label, place), text)
        made = _from_function(name, text, _rates(grid, rate))
        label = label or made.label
    if not label:
        return made
    check_label(label)
    return dataclasses.replace(made, label=label)


def learned_optimizer(label: str, learned: LearnedOptimizer, theta: PyTree, spec: str = "") -> Optimizer:
    """A learned optimizer under test.

    Raises:
        ValueError: theta does not fit the optimizer, or `check_label` refuses the label.
    """
    check_label(label)
    check_theta(learned, theta)

    def make(theta: PyTree, setting: Setting, num_steps: int) -> optax.GradientTransformation:
        return learned.optimizer(theta, num_steps)

    return Optimizer(label, spec or label, make, repr(learned), theta=theta, learned=True)


def check_label(label: str) -> None:
    """Refuse a label that a report cannot print on a line, or would take for a baseline.

    Raises:
        ValueError: it is empty or holds control characters or line breaks; or it is the name of a
            hand-designed optimizer, with a rate or an asterisk behind it or not; or it begins as a random
            search does.

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
    if re.split(r"[@*]", folded)[0].strip() in HAND_DESIGNED or folded.startswith(SEARCH):
        raise ValueError(
            f"the label {label!r} is the name of a baseline; give it another one, as in mine=CHECKPOINT"
        )


def source_digest(thing: Any) -> str:
    """SHA-256 of the file that defines a user's function or class; "" for this package's and libraries'.

    After a change of a user's own task or optimizer, its old rows no longer fit.
    """
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__.split(".")[0] == "celo" or "site-packages" in file:
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _hand_designed(name: str, text: str, settings: tuple[Setting, ...]) -> Optimizer:
    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        return hand_designed(name, setting["learning_rate"])

    return Optimizer(text, text, make, f"hand_designed:{name}", settings)


def _search(what: str, text: str, seed: int) -> Optimizer:
    count = what.partition(":")[2]
    if not (count.isascii() and count.isdecimal() and len(count) < 9):
        raise ValueError(f"the number of trials of {text!r} is {count!r}; expected {SEARCH}:N")

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        options = dict(setting)
        scheduled = ("learning_rate", "min_learning_rate_mult", "constant_fraction", "warmup_fraction")
        schedule = cosine_learning_rate(
            num_steps=num_steps, **{name: options.pop(name) for name in scheduled}
        )
        nesterov = jnp.asarray(options.pop("nesterov")) > 0
        return hand_designed("nadamw", schedule, nesterov=nesterov, **options)

    return Optimizer(text, text, make, "scheduled nadamw", nadamw_trials(int(count), seed))


def _from_function(place: str, text: str, rates: tuple[Setting, ...]) -> Optimizer:
    """An optimizer from a user's ``module:function``."""
    function = _imported(place)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is no function that makes an optimizer ({error})") from error
    given = {name for name in ("learning_rate", "num_steps") if name in parameters}
    needed = {
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    if unknown := sorted(needed - given):
        raise ValueError(
            f"{place} needs the arguments {', '.join(unknown)}; expected none without a default but "
            "learning_rate and num_steps"
        )
    tuned = "learning_rate" in given
    if not tuned and "@" in text:
        raise ValueError(f"{place} has no argument learning_rate for the rate of {text!r}")

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        values = {"learning_rate": setting.get("learning_rate"), "num_steps": num_steps}
        made = function(**{name: values[name] for name in given})
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise ValueError(f"{place} returns a {type(made).__name__}; expected an optax optimizer")
        return made

    settings = rates if tuned else ({},)
    make((), {name: jnp.float32(value) for name, value in settings[0].items()}, 1)  # fails now, not later
    return Optimizer(text, text, make, f"function:{place}:{source_digest(function)}", settings)


def _imported(place: str) -> Any:
    """The object of ``module:object``, imported with the working folder on the path."""
    module, _, name = place.partition(":")
    add_working_folder()
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"{module} of {place!r} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not hasattr(found, name):
        raise ValueError(f"{place!r}: the module {module} ({found.__file__}) has no {name}")
    return getattr(found, name)


def _rates(grid: str, rate: float | None) -> tuple[Setting, ...]:
    return learning_rates(grid) if rate is None else ({"learning_rate": rate},)


def _load(spec: str, label: str, place: str) -> tuple[LearnedOptimizer, PyTree]:
    """`celo.load` of a place, ``~`` included; of several optimizers that fit it, the one the label names."""
    nor = "" if place == spec else f" Nor is there a file {spec!r}"
    if not is_checkpoint(place):
        known = [*packaged(), *(() if ":" in spec else (*HAND_DESIGNED, f"{SEARCH}:N"))]
        error = unknown_name("checkpoint" if nor else "optimizer", place, known)
        raise ValueError(f"{error}{nor}, nor a module {spec.partition(':')[0]!r}.") if nor else error
    file = os.path.expanduser(place)
    try:
        return load(file)
    except AmbiguousError as error:
        if label not in error.fitting:
            raise
        return load(file, name=label)
    except FileNotFoundError as error:
        if not nor or place.startswith("hf://"):
            raise
        raise FileNotFoundError(f"{error}{nor}.") from error
