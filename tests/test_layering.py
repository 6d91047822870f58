"""Imports go one way, and celo/ stays light: read from the source, so nothing has to run."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

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


def imports(source: str, package: str) -> Iterator[Import]:
    """Yield every import of a file; relative ones are resolved against the file's package."""
    yield from _walk(ast.parse(source), package, eager=True)


def _walk(node: ast.AST, package: str, eager: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, package)
            yield from (Import(f"{base}.{alias.name}", child.lineno, eager) for alias in child.names)
        else:
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, package, eager and not lazy and not _for_type_checking(child))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _for_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def top(module: str) -> str:
    return module.partition(".")[0]


def layer_of(module: str) -> str | None:
    """The layer of one of our modules: `celo.meta.x` is in meta, `celo.wrappers` in celo; None for others."""
    parts = module.split(".")
    if parts[0] != "celo":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS[1:] else "celo"


def against_the_direction(layer: str, found: list[Import]) -> list[Import]:
    """Imports of a later layer, of the tests, or of a layer by the name it has in a checkout alone."""
    later = LAYERS[LAYERS.index(layer) + 1 :]
    bare = {"tests", *LAYERS[1:]}
    return [item for item in found if layer_of(item.module) in later or top(item.module) in bare]


def undeclared(found: list[Import], allowed: set[str]) -> list[Import]:
    """Eager imports of packages that are neither Python's, ours nor declared for the layer."""
    free = {"celo", *sys.stdlib_module_names, *allowed}
    return [item for item in found if item.eager and top(item.module) not in free]


def declared_modules(extras: tuple[str, ...]) -> set[str]:
    """Top-level modules of the distributions that pyproject.toml lists for the core and these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    names = {re.split(r"[^\w.-]", entry)[0] for entries in lists for entry in entries}
    wanted = {_canonical(name) for name in names}
    brought = importlib.metadata.packages_distributions()
    return {module for module, by in brought.items() if wanted & {_canonical(name) for name in by}}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wrong_imports(layer: str, rule: Callable[[list[Import]], list[Import]]) -> str:
    """One line per import of the layer's files that breaks a rule.

    Files are read in the folder at the top level; below celo/ the links to the other layers are skipped.
    """
    files = [
        path
        for path in sorted((ROOT / layer).rglob("*.py"))
        if layer != "celo" or path.relative_to(ROOT / "celo").parts[0] not in LAYERS
    ]
    assert files, f"no Python files in {layer}/"
    complaints = []
    for path in files:
        folder = path.relative_to(ROOT).parent.parts
        package = ".".join(folder if layer == "celo" else ("celo", *folder))
        wrong = rule(list(imports(path.read_text(), package)))
        complaints += [f"{path.relative_to(ROOT)}:{item.line} imports {item.module}" for item in wrong]
    return "\n".join(complaints)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer):
    wrong = wrong_imports(layer, lambda found: against_the_direction(layer, found))
    assert not wrong, wrong


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_its_extras_bring(layer):
    allowed = declared_modules(EXTRAS[layer])
    wrong = wrong_imports(layer, lambda found: undeclared(found, allowed))
    assert not wrong, f"import these inside the function that needs them:\n{wrong}"


def test_celo_takes_nothing_from_flax_but_serialization():
    wrong = wrong_imports(
        "celo",
        lambda found: [
            item
            for item in found
            if item.eager and top(item.module) == "flax" and not item.module.startswith("flax.serialization")
        ],
    )
    assert not wrong, wrong


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_only_scripts_know_about_command_lines(layer):
    wrong = wrong_imports(layer, lambda found: [item for item in found if top(item.module) in COMMAND_LINE])
    assert not wrong, wrong


def test_the_command_imports_no_extra_by_itself():
    found = list(imports((ROOT / "scripts" / "cli.py").read_text(), "celo.scripts"))
    assert not undeclared(found, set())


def test_the_rules_find_every_form_of_import():
    source = """
import jax.numpy as jnp
from . import base
from ..meta import tasks
if TYPE_CHECKING:
    import pandas
try:
    import wandb
except ImportError:
    wandb = None
class A:
    import celo.scripts.cli
    def method(self):
        from celo.evaluation.scores import iqm
        import ray, meta.recipe
"""
    found = list(imports(source, "celo.learned"))
    against = [item.module for item in against_the_direction("celo", found)]
    assert against == ["celo.meta.tasks", "celo.scripts.cli", "celo.evaluation.scores.iqm", "meta.recipe"]
    assert [item.module for item in against_the_direction("evaluation", found)] == [
        "celo.scripts.cli",
        "meta.recipe",
    ]
    assert [item.module for item in undeclared(found, {"jax"})] == ["wandb"]
