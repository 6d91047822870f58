"""The text of an optimizer, ``[LABEL=]WHAT``, taken apart: see `celo.evaluation.optimizers.parse`."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from pathlib import Path

from celo._core.names import unknown_name
from celo.baselines import HAND_DESIGNED
from celo.checkpoint import packaged

SEARCH, OPTLIST = "nadamw-search", "optlist"
LISTS = (SEARCH, OPTLIST)


def split_label(text: str) -> tuple[str, str]:
    """LABEL and WHAT of ``LABEL=WHAT``; ("", text) without a label.

    A path may hold "=", as in runs/lr=1e-3/theta.safetensors: an existing file, and a text with one of
    "/:[" before the "=", has no label.
    """
    head, equals, tail = text.partition("=")
    if not text.strip():
        raise ValueError("an optimizer is an empty text; expected a name, a checkpoint or module:function")
    if not equals or {*"/:["} & {*head} or is_file(text):
        return "", text
    if not head.strip() or not tail:
        raise ValueError(f"the optimizer {text!r} has an empty part; expected LABEL=OPTIMIZER")
    return head, tail


def is_optlist(text: str) -> bool:
    """Whether a text is ``[LABEL=]optlist:N``.

    Example:
        >>> is_optlist("mine=optlist:5"), is_optlist("mine=runs/optlist/theta.safetensors")
        (True, False)
    """
    return split_label(text)[1].startswith(f"{OPTLIST}:")


def label_and_place(spec: str) -> tuple[str, str]:
    """Label and checkpoint of LABEL:CHECKPOINT, or twice the CHECKPOINT alone."""
    label, colon, place = spec.partition(":")
    if not colon or place.startswith("//") or is_file(spec):
        return spec, spec
    if not label or not place:
        raise ValueError(f"the optimizer {spec!r} is neither a name nor LABEL:CHECKPOINT")
    return label, place


def split_rate(text: str, what: str) -> tuple[str, float | None]:
    """Name and rate of NAME@RATE."""
    name, at, rate = what.rpartition("@")
    if not at or "/" in what or is_file(what) or (":" in what and not is_function(name)):
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


def is_file(place: str) -> bool:
    """Whether there is a file, ``~`` for the home folder."""
    return os.path.isfile(os.path.expanduser(place))


def is_checkpoint(place: str) -> bool:
    """Whether the text is a checkpoint, by its looks or as it exists."""
    return place in packaged() or "/" in place or bool(Path(place).suffix) or is_file(place)


def is_function(text: str) -> bool:
    """Whether the text is ``module:function`` of a module that exists."""
    module, _, name = text.partition(":")
    if not name.isidentifier() or not all(one.isidentifier() for one in module.split(".")):
        return False
    top = module.split(".")[0]
    add_working_folder()
    return top in sys.modules or importlib.util.find_spec(top) is not None


def add_working_folder() -> None:
    """Let modules in the working folder be imported."""
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
