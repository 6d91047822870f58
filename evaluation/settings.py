"""From the options of an optimizer to the settings it is tried at, and to its arguments at each."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from celo._core.names import hint, lookup, options
from celo.evaluation.grids import Setting, learning_rates
from celo.evaluation.options import Value
from celo.schedules import SCHEDULES

RATE = "learning_rate"
MOST_SETTINGS = 10_000
ENDLESS = ("inverse_sqrt", "exponential")  # schedules that do not follow the number of steps


@dataclasses.dataclass(frozen=True)
class Takes:
    """What an optimizer takes.

    Attributes:
        name: for messages.
        options: names of its own options; None if it takes any.
        rate: whether it has a learning rate, which may be a schedule.
        horizon: whether it receives the number of steps.
    """

    name: str
    options: Collection[str] | None = ()
    rate: bool = True
    horizon: bool = False


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Options of an optimizer: those that are fixed, and the settings to try.

    Attributes:
        settings: every combination of the learning rates and of the options with several values.
        fixed: the optimizer's other options.
        schedule: of the learning rate, a key of `celo.schedules.SCHEDULES`; "" for a constant rate.
        scheduled: names of its options.
        prompt: number of steps the optimizer is told, over the number it takes.
    """

    settings: tuple[Setting, ...] = ({},)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schedule: str = ""
    scheduled: frozenset[str] = frozenset()
    prompt: bool = False

    @property
    def identity(self) -> str:
        """The fixed options in words that last, "" without any."""
        words = [f"{name}={value!r}" for name, value in sorted(self.fixed.items())]
        words += [f"schedule={self.schedule}"] if self.schedule else []
        return f"[{','.join(words)}]" if words else ""

    def arguments(self, setting: Mapping[str, Any], num_steps: int) -> tuple[Any, dict[str, Any]]:
        """The steps the optimizer is told, and its arguments: a rate or schedule, and options.

        ``setting`` may be traced.
        """
        values = {**self.fixed, **setting}
        told: Any = num_steps
        if self.prompt:
            told = told_steps(values.pop("prompt"), num_steps)
        if self.schedule:
            own = {name: values.pop(name) for name in self.scheduled if name in values}
            values[RATE] = SCHEDULES[self.schedule](values[RATE], told, **own)
        return told, values


def told_steps(prompt: Any, num_steps: int) -> Any:
    """``prompt * num_steps``, whole and at least 1; traced if ``prompt`` is."""
    if isinstance(prompt, int | float):
        return max(1, round(prompt * num_steps))
    return jnp.maximum(1.0, jnp.round(prompt * num_steps))


def configure(takes: Takes, given: Mapping[str, Sequence[Value]], grid: str) -> Configuration:
    """The configuration that the options of a text describe.

    Args:
        takes: what the optimizer takes.
        given: the values of each option, as `celo.evaluation.options.split_options` finds them.
        grid: key of `celo.evaluation.grids.GRIDS`, for a learning rate that is not given or is ``grid``.

    Raises:
        ValueError: an option or a schedule that does not exist, or that the optimizer does not take; a grid
            of something else than numbers; or too many settings.

    Example:
        >>> given = {"lr": (0.1,), "momentum": (0.5, 0.9)}
        >>> [dict(setting) for setting in configure(Takes("sgdm", ["momentum"]), given, "published").settings]
        [{'learning_rate': 0.1, 'momentum': 0.5}, {'learning_rate': 0.1, 'momentum': 0.9}]
    """
    own, given = takes.options or (), _without_alias(takes, given)
    if not takes.rate and (given.keys() - set(own)) & {RATE, "schedule"}:
        raise ValueError(f"{takes.name} has no learning rate; its options: {_known(takes)}")
    schedule, scheduled = _schedule(takes, given)
    _check_names(takes, given, schedule, scheduled)
    values: dict[str, tuple[Any, ...]] = {
        name: tuple(value) for name, value in given.items() if not (schedule and name == "schedule")
    }
    prompt = "prompt" in values and "prompt" not in own
    if takes.rate:
        rates = values.pop(RATE, ("grid",))
        values = {RATE: _rates(rates, grid), **values}
    if prompt:
        _check_prompt(values["prompt"])
    for name in scheduled & values.keys():
        if not all(map(_is_number, values[name])):
            raise ValueError(f"{name} of schedule={schedule} is {values[name][0]!r}; expected a number")
    settings, fixed = _settings(takes.name, values)
    return Configuration(settings, fixed, schedule, scheduled, prompt)


def _settings(
    name: str, values: Mapping[str, tuple[Any, ...]]
) -> tuple[tuple[dict[str, float], ...], dict[str, Any]]:
    """The points of the grid of options of several values, and the values of the others."""
    varied = {option: value for option, value in values.items() if len(value) > 1 or option == RATE}
    for option, value in varied.items():
        if not all(map(_is_number, value)):
            raise ValueError(
                f"{name}: a grid of {option} holds numbers, got {'|'.join(map(str, value))}; give every "
                "other value an optimizer and a label"
            )
    if (count := math.prod(map(len, varied.values()))) > MOST_SETTINGS:
        raise ValueError(f"{name} has {count:,} settings; expected at most {MOST_SETTINGS:,}")
    points = itertools.product(*varied.values())
    settings = tuple(dict(zip(varied, map(float, point), strict=True)) for point in points)
    return settings, {option: value[0] for option, value in values.items() if option not in varied}


def _without_alias(takes: Takes, given: Mapping[str, Sequence[Value]]) -> Mapping[str, Sequence[Value]]:
    """The options, with lr called `RATE` unless the optimizer has an option lr."""
    if "lr" in (takes.options or ()) or "lr" not in given:
        return given
    if RATE in given:
        raise ValueError(f"{takes.name} has both lr and {RATE}, which are one option; give one of them")
    return {RATE if name == "lr" else name: values for name, values in given.items()}


def _schedule(takes: Takes, given: Mapping[str, Sequence[Value]]) -> tuple[str, frozenset[str]]:
    """Name and options of the schedule; "" without one."""
    if "schedule" not in given or (takes.options and "schedule" in takes.options):
        return "", frozenset()
    if len(given["schedule"]) > 1:
        raise ValueError(f"{takes.name} has several schedules; expected one, and an optimizer for each")
    name = given["schedule"][0]
    schedule = lookup("schedule", name, SCHEDULES)
    return str(name), frozenset(options(schedule, reserved=(RATE, "num_steps")))


def _check_names(takes: Takes, given: Collection[str], schedule: str, scheduled: frozenset[str]) -> None:
    """Refuse an option that neither the optimizer nor its schedule has, naming those there are."""
    known = {*(takes.options or ()), *scheduled, *({RATE, "schedule"} if takes.rate else ())}
    if takes.horizon or (schedule and schedule not in ENDLESS):
        known.add("prompt")
    for name in given:
        if name in known or (takes.options is None and name not in ("prompt", RATE)):
            continue
        having = [key for key, one in SCHEDULES.items() if name in options(one)]
        if name == "prompt":
            raise ValueError(
                f"{takes.name} does not follow the number of steps, so prompt= changes nothing; give it "
                "schedule=cosine, wsd or constant, or leave prompt out"
            )
        if having and takes.rate and name not in (RATE, "num_steps"):
            where = (
                f"it has schedule={schedule}" if schedule else f"add schedule={' or schedule='.join(having)}"
            )
            raise ValueError(f"{name} is an option of the schedules {', '.join(having)}; {where}")
        raise ValueError(f"{takes.name} takes no option {name!r}.{hint(name, sorted(known))}")


def _known(takes: Takes) -> str:
    return ", ".join([*(takes.options or ()), *(["prompt"] if takes.horizon else [])]) or "none"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rates(values: Sequence[Any], grid: str) -> tuple[float, ...]:
    """The learning rates of ``lr=``: numbers, or the grid."""
    if tuple(values) == ("grid",):
        return tuple(setting[RATE] for setting in learning_rates(grid))
    for value in values:
        if not _is_number(value) or not value > 0:
            raise ValueError(f"the learning rate is {value!r}; expected a positive finite number, or lr=grid")
    return tuple(map(float, values))


def _check_prompt(values: Sequence[Any]) -> None:
    for value in values:
        if not _is_number(value) or not 0 < value <= 1000:
            raise ValueError(
                f"prompt is {value!r}; expected the share of the steps that the optimizer is told, in "
                "(0, 1000]"
            )


def keywords(function: Any, reserved: Collection[str]) -> list[str] | None:
    """Names of the keyword arguments of a function but the reserved ones; None if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in kinds and one.name not in reserved]
