"""Docstrings say ``Example:``, as in the Google style guide; the parser's section is called ``Examples:``."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExamplesExtension(griffe.Extension):
    """Rename the section, so that examples are shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^( *)Example:$", r"\1Examples:", obj.docstring.value)
