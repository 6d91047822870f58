"""Figures for screens: the colours of a drawing follow the theme of the page it is shown on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from celo.evaluation.report import style

# The same hues, lighter, so that they keep their contrast to a dark page.
DARK: Mapping[str, str] = MappingProxyType(
    {
        style.INK: "#e4e4e4",
        style.RULE: "#9a9da5",
        style.GRID: "#2e3138",
        style.FAINT: "#a8a8a8",
        style.GREY: "#7d818a",
        style.BLUE: "#4aa3e0",
        style.VERMILLION: "#f0793f",
        style.GREEN: "#22c495",
        style.PURPLE: "#dd9bc1",
        style.ORANGE: "#f0b63a",
        style.SKY: "#90d0f5",
        style.PAPER: "none",
    }
)


def adapted(svg: str) -> str:
    """A drawing whose colours change with the theme, on no background, with two decimals per coordinate.

    Every colour of `celo.evaluation.report.style` becomes a variable that a media query sets; other colours stay.

    Args:
        svg: content of an SVG file that matplotlib wrote.
    """
    light = {colour.lower(): f"--c{i}" for i, colour in enumerate(DARK)}
    for colour, variable in light.items():
        svg = re.sub(rf"(?i){colour}\b", f"var({variable})", svg)
    svg = re.sub(r'(?<= d=")[^"]+', _shortened, svg)
    values = [":root{" + ";".join(f"{name}:{_on_light(colour)}" for colour, name in light.items()) + "}"]
    dark = ";".join(f"{name}:{colour}" for name, colour in zip(light.values(), DARK.values(), strict=True))
    values.append("@media (prefers-color-scheme:dark){:root{" + dark + "}}")
    return svg.replace('<style type="text/css">', f'<style type="text/css">{"".join(values)}', 1)


def _on_light(colour: str) -> str:
    return "none" if colour == style.PAPER.lower() else colour


def _shortened(path: re.Match[str]) -> str:
    return re.sub(r"(\d\.\d\d)\d+", r"\1", path.group())
