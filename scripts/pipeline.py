"""What evaluate, demo, compare and ablate share: train what a request lacks, then show its scores."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from celo.evaluation import report
from celo.evaluation.envelope import Envelope
from celo.evaluation.optimizers import parse
from celo.evaluation.requested import Requested, read_requested
from celo.evaluation.results import ROWS, Training, read
from celo.evaluation.runner import Observer, Outcome, run
from celo.evaluation.scores import REFERENCE, ScoreTable, score_table
from celo.evaluation.statistics import summarise
from celo.evaluation.sweep import Request
from celo.meta.runs.signals import StopRequest, stop_on_signals

Run = Callable[[Request, Observer, Callable[[], bool]], Outcome]


class Progress(Observer):
    """A line for every finished pair of task and optimizer; bars for trainings and devices on a terminal.

    Args:
        request: what is trained.
    """

    def __init__(self, request: Request):
        self._request, self._lock = request, threading.Lock()
        self._done: dict[tuple[str, str], list[Training]] = {}
        self._terminal = sys.stderr.isatty()
        self._trainings = tqdm(total=0, unit="training", disable=not self._terminal)
        self._bars: dict[int, Any] = {}

    def declared(self, trainings: int, found: int) -> None:
        """Sets the length of the bar, and names the pairs that are finished already."""
        with self._lock:
            self._trainings.reset(trainings)
            self._trainings.update(found)
        if found:
            requested = of_request(self._request)
            rows = requested.rows_of(read(self._request.folder, self.log))
            self._done = {pair: own for pair, own in rows.items() if own}
            for (task, label), own in self._done.items():
                if len(own) == requested.count(label):
                    self.log(f"{label} on {task}: already done")

    def compiling(self, device: int, task: str, optimizer: str) -> None:
        """Shows on the bar of a device that it compiles."""
        self._show(device, f"{optimizer} on {task}, compiling", 0.0)

    def advanced(self, device: int, task: str, optimizer: str, fraction: float) -> None:
        """Moves the bar of a device."""
        self._show(device, f"{optimizer} on {task}", fraction)

    def _show(self, device: int, words: str, fraction: float) -> None:
        if not self._terminal:
            return
        with self._lock:
            if device not in self._bars:
                form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
                self._bars[device] = tqdm(total=1.0, position=device + 1, leave=False, bar_format=form)
            bar = self._bars[device]
            if fraction == 0.0:
                bar.reset()
            bar.set_description(words, refresh=False)
            bar.n = fraction
            bar.refresh()

    def finished(self, rows: Sequence[Training], how: str) -> None:
        """Counts trainings; the last one of a pair gives a line."""
        pair = (rows[0].task, rows[0].optimizer)
        with self._lock:
            self._trainings.update(len(rows))
            done = self._done.setdefault(pair, [])
            done.extend(rows)
        if len(done) == read_requested(self._request.folder).count(pair[1]):
            taken = "taken from other results" if how == "reused" else ""
            self.log(f"{pair[1]} on {pair[0]}: {taken or _summary(done)}")

    def log(self, line: str) -> None:
        """Writes a line above the bars."""
        with self._lock:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        for bar in [*self._bars.values(), self._trainings]:
            bar.close()


def _summary(rows: Sequence[Training]) -> str:
    seconds, diverged = sum(row.seconds for row in rows), Counter(row.diverged for row in rows)[True]
    words = f"{len(rows)} trainings of {rows[0].steps} steps in {seconds:.0f} s"
    return f"{words}, {diverged} diverged" if diverged else words


def train(request: Request, how: Run = run) -> tuple[Outcome, int]:
    """Trains what a request lacks until it is done or a signal stops it; the exit code is of `conclude`."""
    with stop_on_signals() as stop, Progress(request) as progress:
        outcome = how(request, progress, lambda: stop.requested)
    return outcome, conclude(outcome, stop)


def conclude(outcome: Outcome, stop: StopRequest) -> int:
    """Prints what is missing and what failed.

    Returns:
        0 = everything is done, 1 = something failed, 128 + n = stopped by signal n.
    """
    if outcome.missing:
        print(f"Left to do ({sum(outcome.missing.values())} trainings):")
        for (task, label), count in outcome.missing.items():
            print(f"  {label} on {task}: {count}")
    elif outcome.left_out:
        tasks = ", ".join(outcome.left_out)
        print(f"Skipped for lack of data, and missing in the report unless finished before: {tasks}")
    for words, reason in outcome.failures:
        print(f"error: {words} failed: {reason}", file=sys.stderr)
    if stop.requested and outcome.missing:
        print("stopped by a signal; the same command resumes")
        return stop.exit_code
    return int(bool(outcome.missing or outcome.failures))


def restricted(found: Requested, labels: Collection[str], tasks: Collection[str] | None = None) -> Requested:
    """What a folder records as requested, restricted to some labels, to Adam, and to some tasks if given."""
    kept = {REFERENCE, *labels}
    pairs = (pair for pair in found.pairs if tasks is None or pair.task in tasks)
    pairs = tuple(pair for pair in pairs if pair.optimizer in kept)
    optimizers = {label: one for label, one in found.optimizers.items() if label in kept}
    return dataclasses.replace(found, pairs=pairs, optimizers=optimizers)


def of_request(request: Request) -> Requested:
    """What a folder records as requested, restricted to Adam and the tasks and optimizers of a request."""
    labels = [parse(text, request.grid, request.seed).label for text in request.optimizers]
    return restricted(read_requested(request.folder), labels, request.tasks)


def report_request(
    out: Path,
    tasks: tuple[str, ...],
    learned: Sequence[str],
    steps: int,
    seeds: int,
    seed: int = 0,
    **more: Any,
) -> Request:
    """The request of a report whose trainings lie below its folder: Adam and learned optimizers.

    Each combination of steps, seeds and seed has a folder; trainings that fit are taken from the others.
    """
    folder = out.absolute() / "results" / f"{steps}steps_{seeds}seeds_{seed}seed"
    others = sorted({path.parent for path in folder.parent.glob(f"*/{ROWS}")} - {folder})
    optimizers = ("adam", *learned)
    return Request(
        folder, tasks, optimizers, steps, seeds, seed, reuse=tuple(others), new_labels=True, **more
    )


def show(
    folder: Path,
    requested: Requested,
    out: Path,
    reps: int = 2000,
    seed: int = 0,
    curves: Mapping[str, Envelope] | None = None,
    kind: str | None = None,
    smoothed: bool = False,
    **how: Any,
) -> tuple[ScoreTable, Path]:
    """Print the scores of the requested part of a folder of results, and write its report to ``out``.

    ``reps`` and ``seed`` are of the bootstrap, ``curves`` envelopes of Adam by task for VeLO's speedup,
    ``kind`` and ``smoothed`` of `celo.evaluation.scores.score_table`, the others arguments of
    `celo.evaluation.report.write`. Returns the scores, and the page.
    """
    table = score_table(read(folder, print), requested, curves, kind, smoothed)
    summaries = summarise(table, reps, seed)
    print(f"\n{report.described(table, summaries)}\n", flush=True)
    resampling = f"{reps:,} resamples, seed {seed}"
    return table, report.write(out, table, summaries, resampling=resampling, **how)


def show_page(request: Request, out: Path, title: str, metrics: Sequence[Mapping[str, Any]]) -> int:
    """`show` for the report of a meta-training, the page of which is index.html; the exit code 0."""
    shown: dict[str, Any] = {"title": title, "page_file": "index.html", "metrics": metrics}
    print(f"Report with figures: {show(request.folder, of_request(request), out, **shown)[1]}")
    return 0
