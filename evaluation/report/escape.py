"""Text that users typed, such as labels and names of tasks, made safe for each output.

HTML is escaped by jinja2, whose template is `page.html.jinja`; everything else is escaped here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

# Letters that end a line, drive a terminal, or exist in no file: categories of Unicode.
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_MARKDOWN = re.compile(r"""[\\`*|<>~$&]|\](?=[(\[:])|(?<!\w)_|_(?!\w)|^(?=[-+](?!\.?\d)|[=#])""")
_LIST_NUMBER = re.compile(r"^(\d+)(?=[.)](?:\s|$))")


def plain(text: str) -> str:
    r"""One line without control characters, for terminals and as the base of the other forms.

    >>> plain("a\nb")
    'a b'
    """
    shown = (" " if unicodedata.category(letter) in _UNPRINTABLE else letter for letter in text)
    return "".join(shown)


def figure_text(text: str) -> str:
    """Text for matplotlib, which hides an entry of a legend that begins with an underscore.

    >>> figure_text("_x"), figure_text("a_b $1")
    ('＿x', 'a_b $1')
    """
    return re.sub(r"^_", "＿", plain(text))


def markdown_text(text: str) -> str:
    r"""Text that Markdown shows as it stands, inside a table too; names with underscores stay legible.

    >>> print(markdown_text("a|b *c* <d> ImageMLP_Digits8"), markdown_text("# no heading"))
    a\|b \*c\* \<d\> ImageMLP_Digits8 \# no heading
    >>> print(markdown_text("1. no list"), markdown_text("1.02 [0.97, 1.04]"), markdown_text("-4.2"))
    1\. no list 1.02 [0.97, 1.04] -4.2
    """
    escaped = _MARKDOWN.sub(lambda found: f"\\{found.group()}", plain(text))
    return _LIST_NUMBER.sub(r"\1\\", escaped)


def csv_text(text: str) -> str:
    """Text that a spreadsheet does not compute: formulas begin with one of ``= + - @``.

    >>> csv_text("=1+2"), csv_text("adam")
    ("'=1+2", 'adam')
    """
    line = plain(text)
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line


def file_name(text: str) -> str:
    """A name for a file, different for different texts: a digest follows where letters changed.

    >>> file_name("curves_Task"), file_name("schedule_a/b")
    ('curves_Task', 'schedule_a-b~fcc36d43')
    """
    safe = re.sub(r"[^A-Za-z0-9_.@+-]+", "-", text)[:80]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return safe if safe == text else f"{safe}~{digest}"
