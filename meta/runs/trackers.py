"""Where metrics go while training: the run's own file always, and a dashboard beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from celo._core.names import unknown_name

if TYPE_CHECKING:
    from celo.meta.runs.run import RunFolder

TRACKERS = ("jsonl", "wandb", "none")


class Tracker(Protocol):
    """Takes metrics, is closed once, and is its own context manager."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of one step: numbers, or arrays whose distribution is wanted, by name."""
        ...

    def close(self) -> None:
        """Write out what is pending; a second call does nothing."""
        ...

    def __enter__(self) -> Tracker: ...

    def __exit__(self, *exception: object) -> None: ...


class NullTracker:
    """Drops everything: for training without a run folder, and for all processes but the first."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> NullTracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Borrowed:
    """Logs to a tracker that somebody else closes.

    Args:
        tracker: stays open when this one is closed.
    """

    def __init__(self, tracker: Tracker):
        self.log = tracker.log

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Borrowed:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class MultiTracker:
    """Hands every row to several trackers, in order.

    Args:
        trackers: each is closed with this one, also when closing another of them fails.
    """

    def __init__(self, *trackers: Tracker):
        self.trackers = trackers

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log to each tracker."""
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def close(self) -> None:
        """Close each tracker."""
        with contextlib.ExitStack() as stack:
            for tracker in reversed(self.trackers):
                stack.callback(tracker.close)

    def __enter__(self) -> MultiTracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def make_tracker(
    name: str,
    run: RunFolder,
    mode: str | None = None,
    project: str = "celo",
    run_name: str | None = None,
    group: str | None = None,
) -> Tracker:
    """Make the tracker of a run: its ``metrics.jsonl``, always, and what ``name`` adds to it.

    Args:
        name: "wandb"; or "jsonl" or "none", which add nothing.
        run: the run to log for.
        mode: of wandb: "online", "offline" or "disabled"; by default the variable WANDB_MODE, or "online".
            The other trackers have no modes and do not read it.
        project: of wandb.
        run_name: of wandb; the run folder's name by default.
        group: of wandb: what runs to show together.

    Returns:
        A tracker, to be closed or used as a context manager. The file of metrics stays the run's: it is
        closed with the run folder.

    Raises:
        ValueError: an unknown name or mode.
        RuntimeError: wandb is not installed, or cannot be reached in mode "online".
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    metrics = Borrowed(run.metrics)
    if name != "wandb" or not run.is_writer:
        return metrics
    from celo.meta.runs.wandb_tracker import WandbTracker

    return MultiTracker(metrics, WandbTracker(run, mode, project, run_name or run.path.name, group))
