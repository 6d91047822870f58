"""What a learned optimizer may be called: nothing that a report would take for a baseline."""

from __future__ import annotations

import re

from celo.baselines import HAND_DESIGNED

SEARCH = "nadamw-search"


def check_label(label: str) -> None:
    """Refuses a label of a learned optimizer that a baseline has, in capital letters or not.

    Args:
        label: the label.

    Raises:
        ValueError: it is the name of a hand-designed optimizer, or such a name with a rate behind an ``@`` or
            with an asterisk, which is the reference for noise; or it begins as a random search does.

    Example:
        >>> check_label("celo_adam")
        >>> check_label("Adam")
        Traceback (most recent call last):
        ...
        ValueError: a learned optimizer is labelled 'Adam', which is what a baseline is called; ...
    """
    folded = label.strip().casefold()
    name = re.split(r"[@*]", folded)[0].strip()
    if name in HAND_DESIGNED or folded.startswith(SEARCH):
        raise ValueError(
            f"a learned optimizer is labelled {label!r}, which is what a baseline is called; give it another "
            "label, as in mine:CHECKPOINT"
        )
