"""How optimizers under test are made: hand-designed, drawn settings of NAdamW, learned, a user's function."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo._core.names import options as open_options
from celo.baselines import HAND_DESIGNED, hand_designed
from celo.evaluation.grids import Setting
from celo.evaluation.options import Value
from celo.evaluation.settings import RATE, Configuration, Takes, configure, keywords
from celo.evaluation.spec import add_working_folder
from celo.learned.base import LearnedOptimizer
from celo.schedules import cosine_learning_rate

PyTree = Any
Make = Callable[[PyTree, Mapping[str, Any], int], optax.GradientTransformation]
Options = Mapping[str, tuple[Value, ...]]


class Made(NamedTuple):
    """How to make an optimizer, all of it but theta and settings in words that last, and the settings."""

    make: Make
    identity: str
    settings: tuple[Setting, ...]


def from_name(name: str, options: Options, grid: str) -> Made:
    """A hand-designed optimizer, tuned over the grid unless ``options`` hold a learning rate.

    Raises:
        ValueError: an option that it does not take, or a value out of range.
    """
    takes = Takes(name, open_options(HAND_DESIGNED[name], reserved=(RATE,)))
    found = configure(takes, options, grid)

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        values = found.arguments(setting, num_steps)[1]
        return hand_designed(name, values.pop(RATE), **values)

    return _checked(Made(make, f"hand_designed:{name}{found.identity}", found.settings), found)


def from_trials(trials: tuple[Setting, ...]) -> Made:
    """NAdamW with warm-up and cosine decay at each of some settings, as `nadamw_trials` draws them."""

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        values = dict(setting)
        scheduled = (RATE, "min_learning_rate_mult", "constant_fraction", "warmup_fraction")
        schedule = cosine_learning_rate(num_steps=num_steps, **{name: values.pop(name) for name in scheduled})
        nesterov = jnp.asarray(values.pop("nesterov")) > 0
        return hand_designed("nadamw", schedule, nesterov=nesterov, **values)

    return Made(make, "scheduled nadamw", trials)


def from_learned(learned: LearnedOptimizer, theta: PyTree, options: Options, grid: str, name: str) -> Made:
    """A learned optimizer; one with a learning rate is tuned over the grid, like a hand-designed one.

    Raises:
        ValueError: an option that it does not take, or a value out of range.
    """
    build: Any = learned.optimizer
    own = keywords(build, ("theta", "num_steps")) or []
    takes = Takes(name, [one for one in own if one != RATE], rate=RATE in own, horizon=RATE not in own)
    found = configure(takes, options, grid)

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        told, values = found.arguments(setting, num_steps)
        return build(theta, told, **values)

    return _checked(Made(make, f"{learned!r}{found.identity}", found.settings), found, theta)


def from_function(place: str, options: Options, grid: str) -> Made:
    """An optimizer from a user's ``module:function``.

    Raises:
        ValueError: it cannot be imported, needs other arguments, does not take an option, or makes something
            else than an optax optimizer.
    """
    function = imported(place)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place} is no function that makes an optimizer ({error})") from error
    given = {name for name in (RATE, "num_steps") if name in parameters}
    needed = {
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    if unknown := sorted(needed - given - options.keys()):
        raise ValueError(
            f"{place} needs the arguments {', '.join(unknown)}; expected none without a default but "
            "learning_rate, num_steps and those given as options"
        )
    takes = Takes(place, keywords(function, given), rate=RATE in given, horizon="num_steps" in given)
    found = configure(takes, options, grid)

    def make(theta: PyTree, setting: Mapping[str, Any], num_steps: int) -> optax.GradientTransformation:
        told, values = found.arguments(setting, num_steps)
        made = function(**values, **({"num_steps": told} if "num_steps" in given else {}))
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise ValueError(f"{place} returns a {type(made).__name__}; expected an optax optimizer")
        return made

    first = {name: jnp.float32(value) for name, value in found.settings[0].items()}
    make((), first, 1)  # fails now, not after the data were read
    return Made(make, f"function:{place}{found.identity}:{source_digest(function)}", found.settings)


def imported(place: str) -> Any:
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


def source_digest(thing: Any) -> str:
    """SHA-256 of the file that defines a user's function or class; "" for this package's and libraries'.

    After a change of a user's own task or optimizer, its old rows no longer fit.
    """
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__.split(".")[0] == "celo" or "site-packages" in file:
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _checked(made: Made, found: Configuration, theta: PyTree = ()) -> Made:
    """The same, after every setting was tried: its numbers as they are, and traced as in a training.

    Raises:
        ValueError: a value out of range, or a grid of an option that cannot be traced, such as a size.
    """
    grids = [name for name in found.settings[0] if name != RATE]
    if not (grids or found.fixed or found.schedule):
        return made  # learning rates alone

    def step(setting: PyTree) -> PyTree:
        params = {"w": jnp.ones((2, 2))}
        optimizer = optax.with_extra_args_support(made.make(theta, setting, 1))
        return optimizer.update(params, optimizer.init(params), params, value=jnp.float32(1.0))

    if grids:
        try:
            jax.eval_shape(step, {name: jnp.float32(value) for name, value in found.settings[0].items()})
        except (ValueError, TypeError, jax.errors.JAXTypeError) as error:
            raise ValueError(
                f"a grid of {' or '.join(grids)} does not work, as that option cannot be traced; give every "
                f"value an optimizer and a label ({str(error).splitlines()[0]})"
            ) from error
    for setting in found.settings:
        made.make(theta, setting, 1)
    return made
