"""Optimizers under test: a text becomes an optimizer with the settings it is tried at."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from celo._core.names import unknown_name
from celo.baselines import HAND_DESIGNED, hand_designed
from celo.checkpoint import load, packaged
from celo.interop import AmbiguousError
from celo.learned.base import LearnedOptimizer, check_theta
from celo.meta.runs.fingerprint import fingerprint
from celo.schedules import cosine_learning_rate

PyTree = Any
Setting = Mapping[str, float]
Make = Callable[[PyTree, Mapping[str, Any], int], optax.GradientTransformation]

SEARCH = "nadamw-search"


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
    name, rate = _split_rate(text, what)
    if name in HAND_DESIGNED:
        made = _hand_designed(name, text, _rates(grid, rate))
    elif what.startswith(f"{SEARCH}:") and not _is_file(what):
        made = _search(what, text, seed)
    else:
        colon_label, place = label_and_place(what)
        if _is_function(name) and not _is_checkpoint(label_and_place(name)[1]):
            made = _from_function(name, text, _rates(grid, rate))
            check_label(made.label)
        else:
            label = label or colon_label
            check_label(label)
            learned, theta = _load(what, label, place)
            return learned_optimizer(label, learned, theta, text)
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


def check_different(optimizers: Sequence[Optimizer]) -> None:
    """Refuse equal labels, capital letters aside, as they may become names of files.

    Raises:
        ValueError: no optimizer, or two with one label.
    """
    labels = [one.label for one in optimizers]
    if not labels:
        raise ValueError("an evaluation needs at least one optimizer, got none")
    if len({label.casefold() for label in labels}) < len(labels):
        raise ValueError(f"the optimizers of an evaluation need different labels, got {', '.join(labels)}")


def anywhere(text: str) -> str:
    """The text with the path of a checkpoint made absolute, so that it means the same in any folder.

    A file without a label whose relative path holds a colon stays as it is: no label can hold the colon.

    Example:
        >>> anywhere("adam@1e-3"), anywhere("mine:celo"), anywhere("mine:hf://amoudgl/celo")
        ('adam@1e-3', 'mine:celo', 'mine:hf://amoudgl/celo')
    """
    own, what = split_label(text)
    if what in HAND_DESIGNED or what.startswith(f"{SEARCH}:"):
        return text
    label, place = label_and_place(what)
    if place in packaged() or not _is_file(place):
        return text
    absolute = os.path.abspath(os.path.expanduser(place))
    if own:
        return f"{own}={absolute}"
    alone = place == what
    return text if alone and (":" in text or place == absolute) else f"{label}:{absolute}"


def split_label(text: str) -> tuple[str, str]:
    """LABEL and WHAT of ``LABEL=WHAT``; ("", text) without a label.

    A path may hold "=", as in runs/lr=1e-3/theta.safetensors: an existing file, and a text with one of
    "/:[" before the "=", has no label.

    Raises:
        ValueError: one of the two is empty, or the text is.
    """
    head, equals, tail = text.partition("=")
    if not equals or {*"/:["} & {*head} or _is_file(text):
        if not text.strip():
            raise ValueError(
                "an optimizer is an empty text; expected a name, a checkpoint or module:function"
            )
        return "", text
    if not head.strip() or not tail:
        raise ValueError(f"the optimizer {text!r} has an empty part; expected LABEL=OPTIMIZER")
    return head, tail


def label_and_place(spec: str) -> tuple[str, str]:
    """Label and checkpoint of LABEL:CHECKPOINT, or twice the CHECKPOINT alone.

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
    function = import_object(place)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is no function that makes an optimizer ({error})") from error
    given = {name for name in ("learning_rate", "num_steps") if name in parameters}
    unknown = [
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if unknown := [name for name in unknown if name not in given]:
        raise ValueError(
            f"{place} needs the arguments {', '.join(unknown)}; expected none without a default but "
            "learning_rate and num_steps"
        )

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        values = {"learning_rate": setting.get("learning_rate"), "num_steps": num_steps}
        made = function(**{name: values[name] for name in given})
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise ValueError(f"{place} returns a {type(made).__name__}; expected an optax optimizer")
        return made

    tuned = "learning_rate" in given
    if not tuned and "@" in text:
        raise ValueError(f"{place} has no argument learning_rate for the rate of {text!r}")
    settings = rates if tuned else ({},)
    make((), {name: jnp.float32(value) for name, value in settings[0].items()}, 1)  # fails now, not later
    return Optimizer(text, text, make, f"function:{place}:{source_digest(function)}", settings)


def import_object(place: str) -> Any:
    """The object of ``module:object``, imported with the working folder on the path.

    Raises:
        ValueError: the module cannot be imported, or has no such object.
    """
    module, _, name = place.partition(":")
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(
            f"{module} of {place!r} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not hasattr(found, name):
        raise ValueError(f"{place!r}: the module {module} ({found.__file__}) has no {name}")
    return getattr(found, name)


def _split_rate(text: str, what: str) -> tuple[str, float | None]:
    """Name and rate of NAME@RATE."""
    name, at, rate = what.rpartition("@")
    if not at or "/" in what or _is_file(what) or (":" in what and not _is_function(name)):
        return what, None
    try:
        number = float(rate)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"the learning rate of {text!r} is {rate!r}; expected a positive finite number")
    if ":" not in what and name not in HAND_DESIGNED:
        raise unknown_name("hand-designed optimizer", name, HAND_DESIGNED)
    return name, number


def _rates(grid: str, rate: float | None) -> tuple[Setting, ...]:
    return learning_rates(grid) if rate is None else ({"learning_rate": rate},)


def _is_file(place: str) -> bool:
    return os.path.isfile(os.path.expanduser(place))


def _is_checkpoint(place: str) -> bool:
    """Whether the text is a checkpoint, by its looks or as it exists."""
    return place in packaged() or "/" in place or bool(Path(place).suffix) or _is_file(place)


def _is_function(text: str) -> bool:
    """Whether the text is ``module:function`` of a module that exists."""
    module, _, name = text.partition(":")
    if not name.isidentifier() or not all(one.isidentifier() for one in module.split(".")):
        return False
    top = module.split(".")[0]
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    return top in sys.modules or importlib.util.find_spec(top) is not None


def _load(spec: str, label: str, place: str) -> tuple[LearnedOptimizer, PyTree]:
    if not _is_checkpoint(place):
        known = [*packaged(), *(() if ":" in spec else (*HAND_DESIGNED, f"{SEARCH}:N"))]
        error = unknown_name("optimizer" if place == spec else "checkpoint", place, known)
        if place != spec:
            module = spec.partition(":")[0]
            raise ValueError(f"{error} Nor is there a file {spec!r}, nor a module {module!r}.")
        raise error
    try:
        return load_labelled(label, place)
    except FileNotFoundError as error:
        if place == spec or place.startswith("hf://"):
            raise
        raise FileNotFoundError(f"{error} Nor is there a file {spec!r}.") from error


GRIDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "half_powers": tuple(10.0 ** (half / 2) for half in range(-13, 1)),
        "published": tuple(
            float(f"{digit}e{power}")
            for power in range(-7, 1)
            for digit in (1, 3)
            if (digit, power) != (3, 0)
        ),
    }
)
"""Grids of constant learning rates by name: 14 half powers of ten from 10^-6.5 to 1; and the 15 rates, 1 and
3 times powers of ten from 1e-7 to 1, of the baselines published with VeLO (arXiv 2211.09760)."""

MOST_TRIALS = 1000


def learning_rates(grid: str) -> tuple[Setting, ...]:
    """A setting for each learning rate of a grid.

    Raises:
        ValueError: an unknown grid.

    Example:
        >>> len(learning_rates("half_powers")), len(learning_rates("published"))
        (14, 15)
        >>> learning_rates("published")[:3]
        ({'learning_rate': 1e-07}, {'learning_rate': 3e-07}, {'learning_rate': 1e-06})
    """
    if grid not in GRIDS:
        raise unknown_name("grid of learning rates", grid, GRIDS)
    return tuple({"learning_rate": rate} for rate in GRIDS[grid])


def nadamw_trials(count: int, seed: int = 0) -> tuple[Setting, ...]:
    """Random hyperparameters of NAdamW with warm-up and cosine decay.

    Log-uniform: learning rate in [1e-5, 1], 1 - b1 in [1e-3, 1], 1 - b2 in [1e-5, 1], eps in [1e-8, 1e4].
    Uniform: the part of the run at constant rate, in [0, 1]; Nesterov momentum or none. Weight decays are
    log-uniform in [1e-5, 1e-1], in equal parts both, AdamW's alone and L2 alone. Half the trials have a
    warm-up, log-uniform in [1e-5, 1e-1] of the run, and half end above rate 0, at [1e-5, 1] of the highest.
    The space is read off the 1000 published settings: least, greatest and median value of each, and how many
    are 0.

    Args:
        count: number of trials, 1 to `MOST_TRIALS`.
        seed: of the draws; the first trials do not depend on ``count``.

    Returns:
        Hyperparameters by their names in `celo.baselines.nadamw.nadamw` and
        `celo.schedules.cosine_learning_rate`; ``nesterov`` is 0 or 1.

    Raises:
        ValueError: ``count`` is out of range.

    Source: Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search strategies
    (arXiv 2002.11887).
    """
    if not 1 <= count <= MOST_TRIALS:
        raise ValueError(f"nadamw-search has {count} trials; expected 1 to {MOST_TRIALS}")
    return tuple(_nadamw_trial(np.random.default_rng([seed, trial])) for trial in range(count))


def _nadamw_trial(rng: np.random.Generator) -> Setting:
    def power(low: int, high: int) -> float:
        return float(10.0 ** rng.uniform(low, high))

    # Draw everything, used or not, so that each value depends on the seed alone.
    decays = rng.integers(3)
    adamw, l2, warmup, last = power(-5, -1), power(-5, -1), power(-5, -1), power(-5, 0)
    has_warmup, has_last, nesterov = (float(rng.integers(2)) for _ in range(3))
    return {
        "learning_rate": power(-5, 0),
        "b1": 1.0 - power(-3, 0),
        "b2": 1.0 - power(-5, 0),
        "eps": power(-8, 4),
        "nesterov": nesterov,
        "adamw_weight_decay": adamw if decays != 2 else 0.0,
        "l2_weight_decay": l2 if decays != 1 else 0.0,
        "warmup_fraction": has_warmup * warmup,
        "min_learning_rate_mult": has_last * last,
        "constant_fraction": float(rng.uniform()),
    }
