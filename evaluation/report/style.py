"""How figures look: colours, quiet axes, one look per optimizer, user text, SVG for light and dark pages."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from celo._core.files import write_atomically
from celo.evaluation.report.escape import figure_text

# The palette of Okabe and Ito, which stays distinct under every common colour-vision deficiency.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#8A8A8A"
INK, RULE, GRID, PAPER = "#222222", "#444444", "#E6E6E6", "#FFFFFF"
ADAM = BLUE
OTHERS = (VERMILLION, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", ":", "-.")
# The same hues, lighter, for a dark page.
DARK: Mapping[str, str] = MappingProxyType(
    {INK: "#e4e4e4", RULE: "#9a9da5", GRID: "#2e3138", GREY: "#7d818a", BLUE: "#4aa3e0"}
    | {VERMILLION: "#f0793f", GREEN: "#22c495", PURPLE: "#dd9bc1", ORANGE: "#f0b63a", SKY: "#90d0f5"}
    | {PAPER: "none"}
)
MOST_POINTS = 400
LONGEST_NAME, LONGEST_TITLE = 16, 44
DASHED = (0, (4, 3))

_SHEET = Path(__file__).with_name("report.mplstyle")


@contextmanager
def style() -> Iterator[None]:
    """Applies `report.mplstyle` inside the block, whatever the user's own matplotlib settings are."""
    settings: dict[Any, Any] = {**mpl.rc_params_from_file(_SHEET)}
    del settings["backend"]
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def new_figure(title: str, width: float = 4.1, height: float = 3.0) -> tuple[Figure, Axes]:
    """A figure of one panel with a title; call it inside `style`."""
    # Figures of pyplot would stay alive.
    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    axis.set_title(wrapped(figure_text(title)))
    return figure, axis


def wrapped(title: str) -> str:
    """A title in two lines if it is too long for one, broken at an underscore or a space."""
    if len(title) <= LONGEST_TITLE:
        return title
    places = [found.end() for found in re.finditer(r"[_ /]", title)]
    middle = min(places, key=lambda place: abs(place - len(title) // 2), default=len(title) // 2)
    return f"{title[:middle]}\n{title[middle:]}"


def shortened(label: str) -> str:
    """A label that fits beside a line: the beginning of a long label, the end of a long path.

    >>> shortened("celo"), shortened("celo (runs/of/a/long/path/theta)")
    ('celo', 'celo (runs/of/…')
    >>> shortened("runs/mine/theta_1000.safetensors")
    '…ine/theta_1000'
    """
    path = "/" in label.partition(" ")[0]
    label = label.removesuffix(".safetensors") if path else label
    if len(label) <= LONGEST_NAME:
        return label
    return f"…{label[2 - LONGEST_NAME :].lstrip()}" if path else f"{label[: LONGEST_NAME - 2].rstrip()}…"


class Look(NamedTuple):
    """How an optimizer is drawn: a colour, the dashes of its line, and its name in figures."""

    colour: str
    line: str
    name: str


def looks(learned: Mapping[str, bool]) -> dict[str, Look]:
    """The look of every optimizer by label, Adam's first: Adam blue, then learned ones, then the others.

    After five others the colours repeat with other dashes.
    """
    adam, *others = learned
    others.sort(key=lambda label: not learned[label])
    names = [shortened(figure_text(label)) for label in others]
    found = {adam: Look(ADAM, "-", "Adam*")}
    for i, (label, name) in enumerate(zip(others, names, strict=True)):
        dashes, colour = divmod(i, len(OTHERS))
        numbered = f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name
        found[label] = Look(OTHERS[colour], LINES[dashes % len(LINES)], numbered)
    return {label: found[label] for label in learned}


def thin(length: int, most: int = MOST_POINTS) -> np.ndarray:
    """Positions of at most ``most`` evenly spaced points of a curve, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int))


def fit_y(axis: Axes, low: float, high: float, ratio: float = 10.0) -> None:
    """Fits the y axis around [low, high], logarithmic where both are positive and ``ratio`` apart."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return
    if low > 0 and high / low > ratio:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        if high / low < 100:
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        margin = (high / low) ** 0.06
        axis.set_ylim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        axis.set_ylim(low - margin, high + margin)


def label_ends(axis: Axes, ends: Sequence[tuple[float, Look]], size: float = 8.0) -> None:
    """Writes the name of each line at the right of an axis, at the height ``y`` where the line ends.

    ``ends`` are ``y`` and look of each line. Names that would touch move apart. Call it when the limits of
    the axis are final.
    """
    figure = axis.get_figure(root=True)
    if figure is None or not ends:
        return
    gap = 1.35 * size / (72.0 * 0.72 * figure.get_figheight())
    to_axes = axis.transScale + axis.transLimits
    wanted = [float(to_axes.transform((axis.get_xlim()[1], y))[1]) for y, _ in ends]
    beside = {"xycoords": "axes fraction", "xytext": (4, 0), "textcoords": "offset points", "va": "center"}
    for (_, look), place in zip(ends, spread(np.clip(wanted, 0.0, 1.0), gap), strict=True):
        axis.annotate(look.name, (1.0, float(place)), fontsize=size, color=look.colour, **beside)


def spread(wanted: np.typing.ArrayLike, gap: float) -> np.ndarray:
    """Places in the order of ``wanted``, at least ``gap`` apart, none above 1.

    >>> spread([0.5, 0.52, 0.9], 0.1).round(2).tolist()
    [0.5, 0.6, 0.9]
    >>> spread([0.98, 0.99], 0.1).round(2).tolist()
    [0.9, 1.0]
    """
    wanted = np.asarray(wanted, np.float64)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    pushed = np.maximum.accumulate(wanted[order] - steps)  # each at least `gap` above the one before
    room = 1.0 - steps[::-1]  # what those above leave
    found = np.empty_like(wanted)
    found[order] = np.minimum(pushed + steps, room)
    return found


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG and SVG to a path without suffix; equal figures give equal files."""
    with style():
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
            write_atomically(path.with_name(f"{path.name}.{kind}"), buffer.getvalue())


def inline(svg: str) -> str:
    """An SVG file of `save` as an element for a page, whose CSS gives the colours: see `variables`.

    Colours become ``var(--figure-N)``, coordinates have two decimals.
    """
    names = {colour.lower(): f"var(--figure-{i})" for i, colour in enumerate(DARK)}
    known = re.compile("|".join(names), re.IGNORECASE)
    svg = re.sub(
        r'(?<=style=")[^"]+',
        lambda found: known.sub(lambda colour: names[colour.group().lower()], found.group()),
        svg,
    )
    svg = re.sub(r'(?<= d=")[^"]+', lambda path: re.sub(r"(\d\.\d\d)\d+", r"\1", path.group()), svg)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    return svg[svg.index("<svg") :]


def variables(dark: bool) -> str:
    """CSS declarations of the colours that `inline` refers to."""
    names = DARK.values() if dark else (colour if colour != PAPER else "none" for colour in DARK)
    return ";".join(f"--figure-{i}:{colour}" for i, colour in enumerate(names))
