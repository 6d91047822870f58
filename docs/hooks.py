"""A build of the site fails unless every public name has an entry in the API reference."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from mkdocs.exceptions import PluginError

MODULES = (
    "celo",
    "celo.interop",
    "celo.meta",
    "celo.meta.tasks",
    "celo.schedules",
    "celo.wrappers",
)
ENTRY_POINTS = (
    "celo.evaluation.profiles.benchmark_score",
    "celo.evaluation.report.write",
    "celo.evaluation.results.Training",
    "celo.evaluation.results.read",
    "celo.evaluation.runner.run",
    "celo.evaluation.scores.ScoreTable",
    "celo.evaluation.scores.score_table",
    "celo.evaluation.sweep.Request",
    "celo.evaluation.targets.TargetTable",
    "celo.evaluation.targets.target_table",
)


def public_names(module_name: str) -> set[str]:
    """Full names of what a module exports: ``__all__``, or the functions and classes it defines."""
    module = importlib.import_module(module_name)
    defined = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == module_name
    ]
    names = getattr(module, "__all__", defined)
    return {f"{module_name}.{name}" for name in names if not inspect.ismodule(getattr(module, name))}


def on_post_build(config, **_) -> None:
    """Compare the public names with the anchors of the built API pages."""
    pages = Path(config["site_dir"], "api").glob("*.html")
    anchors = {anchor for page in pages for anchor in re.findall(r'id="([\w.]+)"', page.read_text())}
    wanted = set(ENTRY_POINTS).union(*map(public_names, MODULES)) - {"celo.__version__"}
    if missing := sorted(wanted - anchors):
        raise PluginError(f"Missing in docs/api: {', '.join(missing)}")
