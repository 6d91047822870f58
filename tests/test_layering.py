"""Imports go one way, and celo/ stays light: read from the source, so nothing has to run."""

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("celo", "meta", "evaluation", "ablations", "scripts")
EXTRAS = {
    "celo": (),
    "meta": ("train",),
    "evaluation": ("train", "eval"),
    "ablations": ("train", "eval"),
    "scripts": ("train", "eval"),
}
COMMAND_LINE = {"argparse", "tyro", "click"}


class Import(NamedTuple):
    module: str
    line: int
    eager: bool  # runs when the file is imported: not inside a function, not for type checking alone

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def layer(self) -> str | None:
        """`celo.meta.x` is in meta, `celo.wrappers` in celo; None for modules of others."""
        parts = self.module.split(".")
        below = [part for part in parts[1:2] if part in LAYERS[1:]]
        return None if parts[0] != "celo" else (*below, "celo")[0]


def imports(node: ast.AST, package: list[str], eager: bool = True) -> Iterator[Import]:
    """Yield every import of a syntax tree; relative ones are resolved against the package."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parents = package[: len(package) - child.level + 1] if child.level else []
            base = ".".join([*parents, *([child.module] if child.module else [])])
            yield from (Import(f"{base}.{alias.name}", child.lineno, eager) for alias in child.names)
        else:
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from imports(child, package, eager and not lazy and not typing)


def imports_of(layer: str) -> Iterator[tuple[str, Import]]:
    """Path and import for every import of a layer; below celo/ the links to the other layers are skipped."""
    for path in sorted((ROOT / layer).rglob("*.py")):
        folder = path.relative_to(ROOT).parent.parts
        if len(folder) < 2 or layer != "celo" or folder[1] not in LAYERS:
            package = [*folder] if layer == "celo" else ["celo", *folder]
            for found in imports(ast.parse(path.read_text()), package):
                yield f"{path.relative_to(ROOT)}:{found.line} imports {found.module}", found


def declared_modules(extras: tuple[str, ...]) -> set[str]:
    """Top-level modules of the distributions that pyproject.toml lists for the core and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    wanted = {canonicalize_name(Requirement(entry).name) for entries in lists for entry in entries}
    brought = importlib.metadata.packages_distributions()
    return {module for module, by in brought.items() if wanted & set(map(canonicalize_name, by))}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer: str):
    """Not to a later layer, the tests, or a layer by the name that it has in a checkout alone."""
    later, bare = LAYERS[LAYERS.index(layer) + 1 :], {"tests", *LAYERS[1:]}
    found = list(imports_of(layer))
    assert found
    assert not [text for text, item in found if item.layer in later or item.top in bare]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_its_extras_bring(layer: str):
    """Eagerly: what an extra brings may be imported inside the function that needs it."""
    free = {"celo", *sys.stdlib_module_names, *declared_modules(EXTRAS[layer])}
    assert not [text for text, item in imports_of(layer) if item.eager and item.top not in free]


def test_celo_takes_nothing_from_flax_but_serialization():
    found = [item for _, item in imports_of("celo") if item.eager and item.top == "flax"]
    assert not [item for item in found if not item.module.startswith("flax.serialization")]


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_only_scripts_know_about_command_lines(layer: str):
    assert not [text for text, item in imports_of(layer) if item.top in COMMAND_LINE]


def test_the_command_imports_no_extra_by_itself():
    free = {"celo", *sys.stdlib_module_names}
    found = [item for text, item in imports_of("scripts") if text.startswith("scripts/cli.py")]
    assert not [item for item in found if item.eager and item.top not in free]
