"""A run folder to open, for the tests of what it holds."""

from pathlib import Path
from typing import Any

from celo.meta.runs.run import RunFolder

CONFIG = {"stage": 1, "outer": {"lr": 3e-4, "clip": float("inf")}, "tasks": ["mnist", "cifar10"]}


def open_run(path: Path, config: Any = CONFIG, **options: Any) -> RunFolder:
    return RunFolder.open(path, config, **options)
