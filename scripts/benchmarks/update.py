"""Time updates: `celo benchmark update --json OUT`.

For every optimizer, learned and hand-designed, on the parameters of the 17 evaluation tasks of arXiv
2501.12670 (their shapes alone, no data): time per update as a ratio to optax's Adam timed in turns with it,
and state bytes per parameter. Tasks with equal parameters are measured once. A child process measures, so
that a pair that takes too much time or memory is recorded as failed. The file is written after every pair;
the same command resumes it and retries what failed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo import HAND_DESIGNED, LEARNED
from celo._core.files import write_atomically
from celo._core.names import lookup
from celo.evaluation.report.table import Table
from celo.evaluation.suites import CELO17
from celo.meta.tasks import TASKS
from celo.scripts.benchmarks import update_cost
from celo.scripts.benchmarks.measuring import MeasuringProcess, UnansweredError

FAILED = "failed"
OPTIMIZERS = (*LEARNED, *HAND_DESIGNED)
_COLUMNS = {"ratio": "update time / Adam's", "state_bytes_per_parameter": "state bytes per parameter"}
Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Update:
    """Time updates of every optimizer on the parameters of the evaluation tasks, against Adam.

    Attributes:
        json: file for the figures; an existing one is resumed. "" = print only.
        tasks: names of tasks; () = the 17 of the Celo paper.
        optimizers: names of optimizers; () = all.
        calls: rounds of each pair.
        seconds_per_pair: after this time no further round starts, once there were three.
        time_limit: seconds for a pair, compilation included; a pair that exceeds it is recorded as failed.
        memory_gib: memory allowed for an update; 0 = no limit.
    """

    json: str = ""
    tasks: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    calls: int = 20
    seconds_per_pair: float = 5.0
    time_limit: float = 600.0
    memory_gib: float = 8.0

    def check(self) -> None:
        """Checks names, and a number whose range differs from that of other commands."""
        if self.calls < update_cost.LEAST_ROUNDS:
            raise ValueError(f"calls is {self.calls}; expected at least {update_cost.LEAST_ROUNDS}")
        for name in self.tasks:
            lookup("task", name, TASKS)
        for name in self.optimizers:
            lookup("optimizer", name, dict.fromkeys(OPTIMIZERS))

    def run(self) -> None:
        """Measures what the file lacks, and prints the tables."""
        optimizers = self.optimizers or OPTIMIZERS
        with MeasuringProcess(self.time_limit) as process:
            figures = self._start(process)
            done = {(cost["tree"], cost["optimizer"]) for cost in figures["costs"]}
            for task, tree in figures["tasks"].items():
                for optimizer in optimizers:
                    if (tree["tree"], optimizer) not in done:
                        done.add((tree["tree"], optimizer))
                        figures["costs"].append(self._pair(process, task, tree["tree"], optimizer))
                        self._write(figures)
        self._write(figures)
        print(describe(figures, optimizers))

    def _start(self, process: MeasuringProcess) -> Figures:
        """Machine, settings and trees, with what the file already holds but for failed costs.

        Raises:
            ValueError: the file is not one of this command, or was measured on another machine or otherwise.
        """
        settings = {name: getattr(self, name) for name in ("calls", "seconds_per_pair", "memory_gib")}
        head = {"machine": process.ask(update_cost.machine), "settings": settings}
        tasks = {task: process.ask(update_cost.tree, task=task) for task in self.tasks or CELO17}
        if not self.json or not Path(self.json).exists():
            return {**head, "tasks": tasks, "costs": []}
        try:
            found = json.loads(Path(self.json).read_text())
            different = [name for name in head if found[name] != head[name]]
            tasks = {**found["tasks"], **tasks}
            costs = [cost for cost in found["costs"] if FAILED not in cost]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{self.json} is not a file of figures of celo benchmark update: {error!r}"
            ) from error
        for name in different:
            raise ValueError(
                f"{self.json} was measured with {name} {found[name]}, not {head[name]}; choose another file"
            )
        return {**head, "tasks": tasks, "costs": costs}

    def _pair(self, process: MeasuringProcess, task: str, tree: str, optimizer: str) -> Figures:
        """The cost of one pair, or why it has none."""
        pair, start = {"task": task, "optimizer": optimizer}, time.perf_counter()
        found: Figures = {"tree": tree, "optimizer": optimizer}
        found["state_bytes_per_parameter"] = process.ask(update_cost.state_bytes, **pair)
        limits = {"calls": self.calls, "seconds": self.seconds_per_pair, "gibibytes": self.memory_gib}
        try:
            found |= process.ask(update_cost.cost, **pair, **limits)
            outcome = f"{found['ratio']:.3g} times Adam's {found['adam_milliseconds']:.3g} ms"
        except UnansweredError as reason:
            found[FAILED] = outcome = str(reason)
        seconds = time.perf_counter() - start
        print(f"{task} {optimizer}: {outcome} ({seconds:.0f} s)", file=sys.stderr, flush=True)
        return found

    def _write(self, figures: Figures) -> None:
        if self.json:
            write_atomically(Path(self.json), f"{json.dumps(figures, indent=1)}\n".encode())


def describe(figures: Figures, optimizers: Sequence[str]) -> str:
    """The tables in Markdown, learned and hand-designed optimizers apart, and what failed."""
    groups = [[name for name in group if name in optimizers] for group in (LEARNED, HAND_DESIGNED)]
    blocks = [table(figures, field, group) for field in _COLUMNS for group in groups if group]
    names = {tree["tree"]: task for task, tree in reversed(figures["tasks"].items())}
    failed = [
        f"- {cost['optimizer']} on {names[cost['tree']]}: {cost[FAILED]}"
        for cost in figures["costs"]
        if FAILED in cost and cost["tree"] in names
    ]
    return "\n\n".join([*blocks, *(["Not measured:\n" + "\n".join(failed)] if failed else [])])


def table(figures: Figures, field: str, optimizers: Sequence[str]) -> str:
    """A Markdown table of tasks by optimizers, as table 7 of arXiv 2501.12670.

    The field "ratio" has a column for Adam's milliseconds and a last row with the geometric mean over
    different trees; "state_bytes_per_parameter" has neither.
    """
    costs = {(cost["tree"], cost["optimizer"]): cost for cost in figures["costs"]}
    timed, rows = field == "ratio", []
    for task, shape in figures["tasks"].items():
        tree = shape["tree"]
        own = [cost for (of, _), cost in costs.items() if of == tree]
        times = [cost["adam_milliseconds"] for cost in own if "ratio" in cost]
        adam = [_number(statistics.median(times)) if times else ""] if timed else []
        cells = [costs.get((tree, name)) for name in optimizers]
        shown = ["" if cost is None else _number(cost[field]) if field in cost else FAILED for cost in cells]
        rows.append((task, f"{shape['parameters']:,}", *adam, *shown))
    if timed:
        trees = {shape["tree"] for shape in figures["tasks"].values()}
        ratios = ([costs.get((tree, name), {}).get(field) for tree in trees] for name in optimizers)
        means = ["" if None in own else _number(statistics.geometric_mean(own)) for own in ratios]
        rows.append((f"geometric mean, {len(trees)} trees", "", "", *means))
    header = (_COLUMNS[field], "parameters", *(["Adam, ms"] if timed else []), *optimizers)
    return Table(header, tuple(rows)).markdown()


def _number(value: float) -> str:
    """Three significant digits, all digits before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
