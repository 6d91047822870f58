"""Where metrics go while training: the run's own file always, and a dashboard beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from celo._core.names import unknown_name

if TYPE_CHECKING:
    from celo.meta.runs.run import RunFolder

TRACKERS = ("jsonl", "wandb", "none")
"""Names of trackers. A run always writes ``metrics.jsonl``, so "jsonl" and "none" mean the same for a run."""


class Tracker:
    """Takes metrics, is closed once, and is its own context manager. This one does nothing."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of one step by name: numbers, or arrays whose distribution matters."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Take numbers that describe the run as a whole, by name."""

    def keep(self, file: Path, kind: str) -> None:
        """Take a file that the run produced, and what it is, such as "theta"."""

    def close(self) -> None:
        """Write out what is pending; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RunTracker(Tracker):
    """The tracker of a run: its ``metrics.jsonl``, which stays open, and dashboards.

    Dashboards are closed with this tracker, each also when closing another one fails.
    """

    def __init__(self, metrics: Tracker, *dashboards: Tracker):
        self._metrics, self._dashboards = metrics, dashboards

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log to the file and to every dashboard."""
        for tracker in (self._metrics, *self._dashboards):
            tracker.log(step, metrics)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Hand the numbers to every dashboard."""
        for tracker in self._dashboards:
            tracker.summarise(values)

    def keep(self, file: Path, kind: str) -> None:
        """Hand the file to every dashboard."""
        for tracker in self._dashboards:
            tracker.keep(file, kind)

    def close(self) -> None:
        """Close every dashboard."""
        with contextlib.ExitStack() as stack:
            for tracker in reversed(self._dashboards):
                stack.callback(tracker.close)


def make_tracker(
    name: str,
    run: RunFolder,
    mode: str | None = None,
    project: str = "celo",
    group: str | None = None,
    job_type: str | None = None,
    rename: Callable[[str], str] = str,
) -> Tracker:
    """Make the tracker of a run: its ``metrics.jsonl``, always, and the dashboard that ``name`` adds.

    Close it, or use it as a context manager; the file of metrics is closed with the run folder.

    Args:
        name: "wandb"; or "jsonl" or "none", which add no dashboard.
        run: the run to log for.
        mode: of wandb: "online", "offline" or "disabled"; by default the variable WANDB_MODE, or "online".
        project: of wandb.
        group: of wandb: which runs to show together.
        job_type: of wandb: the kind of run within a group.
        rename: from the name of a metric to its name on the dashboard, where ``section/name`` makes sections.

    Raises:
        ValueError: an unknown name or mode, or ``wandb.json`` is not readable.
        RuntimeError: wandb is not installed, or cannot be reached in mode "online".
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    if name != "wandb" or not run.is_writer:
        return RunTracker(run.metrics)
    from celo.meta.runs.wandb_tracker import WandbTracker

    return RunTracker(run.metrics, WandbTracker(run, mode, project, group, job_type, rename))
