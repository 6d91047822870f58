"""How large is the code? `python -m scripts.studies.structure --against 94ff3d3`.

Prints lines and files of every package, how many files only one other file imports, and the longest
functions, of the working tree and of another git revision beside it.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from celo.evaluation.report.table import Table
from celo.scripts import checks

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("celo", "meta", "evaluation", "ablations", "scripts", "examples", "tests")


@dataclasses.dataclass(frozen=True)
class Structure:
    """Count lines, files, imports and long functions.

    Attributes:
        against: git revision to compare with; "" = none.
    """

    against: str = ""

    def run(self) -> None:
        """Prints the table and the lists."""
        sources = {"working tree": read(ROOT)}
        if self.against:
            sources = {self.against: at_revision(self.against)} | sources
        tables = {name: summary(found) for name, found in sources.items()}
        rows = [(what, *(f"{table[what]:,}" for table in tables.values())) for what in summary([])]
        print(Table(("", *tables), tuple(rows)).markdown())
        for name, found in sources.items():
            source = [one for one in found if not one.module.startswith("tests")]
            pairs = sorted((pair for one in source for pair in one.functions), reverse=True)
            print(f"\nLongest functions, {name}: " + ", ".join(f"{where} ({n})" for n, where in pairs[:10]))
            print(f"\nImported by one other file, {name}: {', '.join(imported_once(source))}")


class Source(NamedTuple):
    """One file: its module, number of lines, modules it may import, and functions with their lengths."""

    module: str
    lines: int
    imports: frozenset[str]
    functions: tuple[tuple[int, str], ...]


def read(root: Path) -> list[Source]:
    """All Python files of the packages below a folder; links to other folders are left out."""
    paths = [path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))]
    linked = {path for path in paths if path.resolve() != root.resolve() / path.relative_to(root)}
    return [_source(path, root) for path in paths if path not in linked]


def _source(path: Path, root: Path) -> Source:
    text = path.read_text()
    tree, module = ast.parse(text), ".".join(path.relative_to(root).with_suffix("").parts)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    found = [((node.end_lineno or 0) - node.lineno + 1, f"{module}.{node.name}") for node in functions]
    return Source(module, text.count("\n"), frozenset(_imports(tree)), tuple(found))


def _imports(tree: ast.AST) -> set[str]:
    """Modules that a file may import, named from the root of the repository: celo/meta is a link to meta."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {re.sub(rf"^celo\.(?=({'|'.join(PACKAGES)})\b)", "", name) for name in names}


def imported_once(sources: list[Source]) -> list[str]:
    """Modules that exactly one other file imports."""
    counts = Counter(name for one in sources for name in one.imports)
    return [one.module for one in sources if counts[one.module] == 1]


def summary(sources: list[Source]) -> dict[str, int]:
    """The numbers to compare, by what they count."""
    found: dict[str, int] = {}
    for package in PACKAGES:
        own = [one for one in sources if one.module.partition(".")[0] == package]
        found[f"{package}: files"], found[f"{package}: lines"] = len(own), sum(one.lines for one in own)
    found["source without tests and examples: lines"] = sum(found[f"{name}: lines"] for name in PACKAGES[:5])
    source = [one for one in sources if not one.module.startswith("tests")]
    found["files that one other file imports"] = len(imported_once(source))
    lengths = [length for one in source for length, _ in one.functions]
    return found | {"functions of more than 40 lines": sum(length > 40 for length in lengths)}


def at_revision(revision: str) -> list[Source]:
    """The files of a git revision, unpacked into a temporary folder."""
    command = ["git", "archive", "--format=tar", "--end-of-options", revision]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"git has no revision {revision!r}: {done.stderr.decode(errors='replace').strip()}")
    file = io.BytesIO(done.stdout)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=file) as archive:
        archive.extractall(folder, filter="data")
        return read(Path(folder))


main = checks.program(Structure, "structure", __doc__)

if __name__ == "__main__":
    sys.exit(main())
