"""Write kept results into the documentation: `python -m scripts.studies.render`; `--check` compares only.

A block of README.md or docs/*.md between `<!-- render: NAME -->` and `<!-- end -->` is replaced by what
NAME means. NAME is FILE[:PLACE[:FORMAT]], with a FILE of docs/results/:

    table.csv                 the whole table
    table.csv:task,ratio      some of its columns
    numbers.json:cpu.iqm:.2f  a value, by keys and positions joined by dots, in a Python number format
    numbers.json:rows         a list of objects, as a table

A table stands on separate lines, a value inside a line: `<!-- render: ... -->1.02<!-- end -->`.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from celo._core.files import write_atomically
from celo.evaluation.report.table import Table
from celo.scripts import checks

BLOCK = re.compile(r"(<!-- render: ([^\n]*?) -->)(.*?)(<!-- end -->)", re.DOTALL)
OPENING = re.compile(r"<!-- render: ")


@dataclasses.dataclass(frozen=True)
class Render:
    """Write kept results into the documentation.

    Attributes:
        root: the repository.
        check_only: change nothing; exit with 1 if a page differs from the results.
    """

    root: Path = Path(__file__).resolve().parents[2]
    check_only: Annotated[bool, tyro.conf.arg(name="check")] = False

    def run(self) -> int:
        """Renders or compares all pages; 0 = they agree with the results, 1 = with --check, some do not."""
        pages = [self.root / "README.md", *sorted((self.root / "docs").glob("*.md"))]
        wanted = {path: page(path.read_text(), self.root / "docs" / "results") for path in pages}
        stale = [path for path in pages if wanted[path] != path.read_text()]
        for path in stale:
            if not self.check_only:
                write_atomically(path, wanted[path].encode())
            print(f"{'differs from the results' if self.check_only else 'rendered'}: {path}")
        return int(bool(stale) and self.check_only)


def rendered(name: str, results: Path) -> str:
    """The text that a block's name, FILE[:PLACE[:FORMAT]], means; ``results`` is the folder of the files.

    ValueError if the file or the place in it does not exist, or is not a table or a value.
    """
    file, _, rest = name.partition(":")
    place, _, form = rest.partition(":")
    path = results / file
    if Path(file).name != file or path.suffix not in (".csv", ".json") or not path.is_file():
        raise ValueError(f"render: {name!r}: {results} has no CSV or JSON file {file!r}")
    try:
        if path.suffix == ".csv":
            with path.open(newline="") as stream:
                return _table(list(csv.DictReader(stream)), place.split(",") if place else [])
        found: Any = json.loads(path.read_text())
        for key in filter(None, place.split(".")):
            found = found[int(key)] if isinstance(found, list) else found[key]
        return _table(found, []) if isinstance(found, list) else _value(found, form)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"render: {name!r} cannot be read: {type(error).__name__}: {error}") from error


def _value(found: Any, form: str) -> str:
    if isinstance(found, dict) or found is None:
        raise ValueError(f"expected a number or a text, found {type(found).__name__}")
    return checks.one_line(format(found, form))


def _table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    columns = columns or list(rows[0])
    cells = tuple(tuple(str(row[name]) for name in columns) for row in rows)
    return f"\n{Table(tuple(columns), cells).markdown()}\n"


def page(text: str, results: Path) -> str:
    """A page with all its blocks rendered; ValueError as `rendered`, or if a block has no end."""
    if len(OPENING.findall(text)) != len(BLOCK.findall(text)):
        raise ValueError("a block has no <!-- end -->")
    return BLOCK.sub(lambda block: block[1] + rendered(block[2], results) + block[4], text)


main = checks.program(Render, "render", __doc__)

if __name__ == "__main__":
    sys.exit(main())
