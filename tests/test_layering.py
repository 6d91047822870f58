"""Imports go one way, and celo/ stays light: read from the source, so nothing has to run to find out."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
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
    """Yield every import of a file, relative ones resolved against the file's package."""
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


def against_the_direction(layer: str, found: Iterator[Import]) -> list[Import]:
    """Imports of a layer below the given one, or of the tests."""
    forbidden = {"tests", *LAYERS[LAYERS.index(layer) + 1 :]}
    return [item for item in found if top(item.module) in forbidden]


def undeclared(found: Iterator[Import], allowed: set[str]) -> list[Import]:
    """Eager imports of packages that are neither Python's, ours nor declared for the layer."""
    free = {*sys.stdlib_module_names, *LAYERS, *allowed}
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


def files(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports_of(path: Path) -> Iterator[Import]:
    return imports(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts))


def complaint(path: Path, wrong: list[Import]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{item.line} imports {item.module}" for item in wrong]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer):
    assert files(layer), f"no Python files in {layer}/"
    wrong = [
        line
        for path in files(layer)
        for line in complaint(path, against_the_direction(layer, imports_of(path)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_its_extras_bring(layer):
    allowed = declared_modules(EXTRAS[layer])
    wrong = [line for path in files(layer) for line in complaint(path, undeclared(imports_of(path), allowed))]
    assert not wrong, "\n".join(["import these inside the function that needs them:", *wrong])


def test_celo_takes_nothing_from_flax_but_serialization():
    taken = {
        item.module
        for path in files("celo")
        for item in imports_of(path)
        if top(item.module) == "flax" and not item.module.startswith("flax.serialization")
    }
    assert not taken


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_only_scripts_know_about_command_lines(layer):
    wrong = [
        line
        for path in files(layer)
        for line in complaint(path, [item for item in imports_of(path) if top(item.module) in COMMAND_LINE])
    ]
    assert not wrong, "\n".join(wrong)


def test_the_command_imports_no_extra_by_itself():
    assert not undeclared(imports_of(ROOT / "scripts" / "cli.py"), set())


SOURCE = """
import jax.numpy as jnp
from . import features
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
        import ray
"""


def test_every_form_of_import_is_seen():
    found = list(imports(SOURCE, "celo.learned"))
    assert [item.module for item in found] == [
        "jax.numpy",
        "celo.learned.features",
        "celo.meta.tasks",
        "pandas",
        "wandb",
        "scripts.cli",
        "evaluation.scores.iqm",
        "ray",
    ]
    assert [item.module for item in found if not item.eager] == ["pandas", "evaluation.scores.iqm", "ray"]


def test_violations_are_found():
    found = list(imports(SOURCE, "celo.learned"))
    assert [item.module for item in against_the_direction("celo", iter(found))] == [
        "scripts.cli",
        "evaluation.scores.iqm",
    ]
    assert not against_the_direction("scripts", iter(found))
    assert [item.module for item in undeclared(iter(found), {"jax"})] == ["wandb"]


def test_declared_modules_follow_the_extras():
    core, train, evaluation = declared_modules(()), declared_modules(("train",)), declared_modules(("eval",))
    assert {"jax", "optax", "flax", "safetensors", "numpy"} <= core
    assert {"orbax", "PIL", "sklearn", "tyro"} <= train
    assert not {"orbax", "PIL", "sklearn", "tyro", "matplotlib", "ray"} & core
    assert "matplotlib" in evaluation - train
