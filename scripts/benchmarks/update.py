"""Time updates: `celo benchmark update --json OUT`.

What a user gets: plain `jax.jit`, the default device, state and parameters donated, nothing cached. Times are
given against optax's Adam and against a floor, one pass over the bytes that any update must read and write;
both are timed in turns with the optimizer. The trees of parameters are those of the 17 evaluation tasks of
arXiv 2501.12670 (their shapes alone, no data), unless --tasks names others. Equal trees are measured once.

A child process measures each pair, so that one that takes too much time or memory is recorded as failed. The
file is written after every pair; the same command resumes it and retries what failed.
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

import jax
import jax.numpy as jnp

from celo._core.files import write_atomically
from celo.evaluation.report.table import Table
from celo.evaluation.suites import CELO17
from celo.scripts import checks
from celo.scripts.benchmarks import trees, update_cost
from celo.scripts.benchmarks.measuring import MeasuringProcess, UnansweredError

FAILED = "failed"
# Fields of a cost and their columns.
COLUMNS = {
    "milliseconds": "ms",
    "ratio": "/ Adam",
    "floor_ratio": "/ floor",
    "compile_seconds": "compile, s",
    "mebibytes": "MiB",
    "state_bytes_per_parameter": "state bytes per parameter",
}
Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Update:
    """Time updates of optimizers on trees of parameters, against Adam and the speed of memory.

    Attributes:
        json: file for the figures; an existing one is resumed. "" = print only.
        picture: file for a picture of times by size, .svg or .png; "" = none.
        tasks: trees: names of tasks, tensor:1e4 to tensor:1e8 (one tensor), transformer:12x768 (layers x
            width); () = the 17 tasks of the Celo paper, 197 to 12.8 million parameters.
        optimizers: names of optimizers, with options such as celo[kernels=pallas] or, for averages in
            bfloat16, [state_dtype=bfloat16]; () = all.
        calls: rounds of each pair.
        seconds_per_pair: after this time no further round starts, once there were three.
        time_limit: seconds for a pair, compilation included; a pair that exceeds it is recorded as failed.
        memory_gib: memory allowed for an update; 0 = no limit.
    """

    json: str = ""
    picture: str = ""
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
            trees.shapes(name)
        for name in self.optimizers:
            jax.eval_shape(lambda name=name: update_cost.build(name).init(jnp.ones(1)))
        if self.picture and Path(self.picture).suffix not in (".svg", ".png"):
            raise ValueError(f"picture is {self.picture}; expected a name that ends in .svg or .png")
        checks.output_file(self.picture)

    def run(self) -> None:
        """Measures what the file lacks, prints the table, and draws the picture."""
        optimizers, figures = self.optimizers or update_cost.OPTIMIZERS, self._start()
        done = {(cost["tree"], cost["optimizer"]) for cost in figures["costs"]}
        for task, tree in figures["tasks"].items():
            for optimizer in optimizers:
                if (tree["tree"], optimizer) not in done:
                    done.add((tree["tree"], optimizer))
                    figures["costs"].append(self._pair(task, tree["tree"], optimizer))
                    self._write(figures)
        self._write(figures)
        print(describe(figures, optimizers))
        if self.picture:
            from celo.scripts.benchmarks import picture  # matplotlib takes a second to import

            picture.save(picture.draw(figures, optimizers), Path(self.picture))

    def _start(self) -> Figures:
        """Machine, settings and trees, with what the file already holds but for failed costs.

        Raises:
            ValueError: the file is not one of this command, or was measured on another machine or otherwise.
        """
        settings = {name: getattr(self, name) for name in ("calls", "seconds_per_pair", "memory_gib")}
        with MeasuringProcess(self.time_limit) as process:
            head = {"machine": process.ask(update_cost.machine), "settings": settings}
        tasks = {task: trees.describe(task) for task in self.tasks or CELO17}
        if not self.json or not Path(self.json).exists():
            return {**head, "tasks": tasks, "costs": []}
        try:
            found = json.loads(Path(self.json).read_text())
            different = [name for name in head if found[name] != head[name]]
            tasks = {**found["tasks"], **tasks}
            costs = [cost for cost in found["costs"] if "floor_ratio" in cost]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{self.json} is not a file of figures of celo benchmark update: {error!r}"
            ) from error
        for name in different:
            raise ValueError(
                f"{self.json} was measured with {name} {found[name]}, not {head[name]}; choose another file"
            )
        return {**head, "tasks": tasks, "costs": costs}

    def _pair(self, task: str, tree: str, optimizer: str) -> Figures:
        """The cost of one pair, or why it has none."""
        pair, start = {"task": task, "optimizer": optimizer}, time.perf_counter()
        found: Figures = {"tree": tree, "optimizer": optimizer}
        limits = {"calls": self.calls, "seconds": self.seconds_per_pair, "gibibytes": self.memory_gib}
        with MeasuringProcess(self.time_limit, cached=False) as process:
            found["state_bytes_per_parameter"] = process.ask(update_cost.state_bytes, **pair)
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
    """A Markdown table of all pairs, with mean ratios over different trees, and a list of failures."""
    costs = {(cost["tree"], cost["optimizer"]): cost for cost in figures["costs"]}
    rows, failed = [], []
    for task, shape in figures["tasks"].items():
        for name in optimizers:
            cost = costs.get((shape["tree"], name), {})
            rows.append((task, name, f"{shape['parameters']:,}", *_cells(cost)))
            failed += [f"- {name} on {task}: {cost[FAILED]}"] if FAILED in cost else []
    distinct = {shape["tree"] for shape in figures["tasks"].values()}
    for name in optimizers if len(distinct) > 1 else ():
        own = [costs.get((tree, name), {}) for tree in distinct]
        if all("ratio" in cost for cost in own):
            means = {x: statistics.geometric_mean(cost[x] for cost in own) for x in ("ratio", "floor_ratio")}
            rows.append((f"geometric mean, {len(distinct)} trees", name, "", *_cells(means)))
    table = Table(("tree", "optimizer", "parameters", *COLUMNS.values()), tuple(rows), words=2).markdown()
    return "\n\n".join([table, *(["Not measured:\n" + "\n".join(failed)] if failed else [])])


def _cells(cost: Figures) -> list[str]:
    """Three significant digits, all digits before the point; nothing for what was not measured."""
    digits = {name: ".0f" if cost[name] >= 100 else "#.3g" for name in COLUMNS if name in cost}
    return [f"{cost[name]:{digits[name]}}".rstrip(".") if name in digits else "" for name in COLUMNS]
