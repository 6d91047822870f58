"""Time updates: `celo benchmark update --json OUT`.

For every optimizer, learned and hand-designed, on the parameters of the 17 evaluation tasks of arXiv
2501.12670 (only their shapes are needed, no data): time per update as a ratio to optax's Adam timed in turns
with it, and state bytes per parameter. Tasks with equal parameters are measured once. Pairs are measured in a
process of their own, so that one that takes too long or too much memory is noted, and the others go on. The
file is written after every pair; the same command goes on with it, and tries again what failed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from celo import HAND_DESIGNED, LEARNED
from celo._core.files import write_atomically
from celo._core.names import unknown_name
from celo.evaluation.suites import CELO17
from celo.evaluation.update_cost import Budget, optimizer_names
from celo.evaluation.update_table import FAILED, bytes_table, failures, ratio_table
from celo.scripts.measuring_process import MeasuringProcess, UnansweredError

WORKER = "update-worker"


@dataclasses.dataclass(frozen=True)
class Update:
    """Time updates of every optimizer on the parameters of the evaluation tasks, against Adam.

    Attributes:
        json: file for the figures; one that is there is gone on with. "" = print only.
        tasks: names of tasks; () = the 17 of the Celo paper.
        optimizers: names of optimizers; () = all.
        calls: rounds of each pair.
        seconds_per_pair: no further round is begun after this time, once there were three.
        time_limit: seconds for a pair, compilation included; then it is noted as failed.
        memory_gib: memory allowed for an update; 0 = no limit.
    """

    json: str = ""
    tasks: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    calls: int = 20
    seconds_per_pair: float = 5.0
    time_limit: float = 600.0
    memory_gib: float = 8.0

    def __post_init__(self) -> None:
        """Checks names and numbers before anything is measured."""
        from celo.meta.tasks import TASKS

        Budget(self.calls, self.seconds_per_pair, self.memory_gib)
        if not self.time_limit > 0:
            raise ValueError(f"time_limit is {self.time_limit}; expected a positive number of seconds")
        for kind, given, known in (
            ("task", self.tasks or CELO17, TASKS),
            ("optimizer", self.optimizers, optimizer_names()),
        ):
            for name in given:
                if name not in known:
                    raise unknown_name(kind, name, known)
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(self.json).absolute().parent} for {self.json}")

    def run(self) -> None:
        """Measures what is not in the file yet, and prints the tables."""
        with MeasuringProcess(WORKER, self.time_limit) as process:
            figures = self._begin(process)
            done = {(cost["tree"], cost["optimizer"]) for cost in figures["costs"]}
            for task, tree in figures["tasks"].items():
                for optimizer in self.optimizers or optimizer_names():
                    if (tree["tree"], optimizer) not in done:
                        done.add((tree["tree"], optimizer))
                        figures["costs"].append(self._pair(process, task, tree["tree"], optimizer))
                        self._write(figures)
        self._write(figures)
        print(describe(figures, self.optimizers or optimizer_names()))

    def _begin(self, process: MeasuringProcess) -> dict[str, Any]:
        """The figures so far: where and how they are measured, the trees, and the costs of an earlier run."""
        settings = {name: getattr(self, name) for name in ("calls", "seconds_per_pair", "memory_gib")}
        head = {"machine": process.ask({"what": "machine"}), "settings": settings}
        tasks = {task: process.ask({"what": "tree", "task": task}) for task in self.tasks or CELO17}
        earlier = _earlier(self.json, head)
        return {**head, "tasks": {**earlier["tasks"], **tasks}, "costs": earlier["costs"]}

    def _pair(self, process: MeasuringProcess, task: str, tree: str, optimizer: str) -> dict[str, Any]:
        """The cost of one pair, or why there is none."""
        request = {"task": task, "optimizer": optimizer}
        cost = {"tree": tree, "optimizer": optimizer}
        cost |= process.ask({"what": "state", **request})
        budget = dataclasses.asdict(Budget(self.calls, self.seconds_per_pair, self.memory_gib))
        began = time.perf_counter()
        try:
            cost |= process.ask({"what": "cost", **request, "budget": budget})
            said = f"{cost['ratio']:.3g} times Adam's {cost['adam_milliseconds']:.3g} ms"
        except UnansweredError as reason:
            cost[FAILED] = said = str(reason)
        print(
            f"{task} {optimizer}: {said} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True
        )
        return cost

    def _write(self, figures: dict[str, Any]) -> None:
        if self.json:
            write_atomically(Path(self.json), f"{json.dumps(figures, indent=1)}\n".encode())


def describe(figures: dict[str, Any], optimizers: tuple[str, ...]) -> str:
    """The tables in Markdown, learned and hand-designed optimizers apart, and what failed."""
    groups = [[name for name in group if name in optimizers] for group in (LEARNED, HAND_DESIGNED)]
    tables = [table(figures, group) for table in (ratio_table, bytes_table) for group in groups if group]
    lines = [table.markdown() for table in tables]
    failed = failures(figures)
    return "\n\n".join(
        lines + (["Not measured:\n" + "\n".join(f"- {line}" for line in failed)] if failed else [])
    )


def _earlier(path: str, head: dict[str, Any]) -> dict[str, Any]:
    """Tasks and costs of the file, but for what failed; none if there is no file.

    Raises:
        ValueError: if the file is not one of this command, or was measured elsewhere or in another way.
    """
    if not path or not Path(path).exists():
        return {"tasks": {}, "costs": []}
    try:
        found = json.loads(Path(path).read_text())
        different = [part for part in head if found[part] != head[part]]
        earlier = {"tasks": found["tasks"], "costs": [c for c in found["costs"] if FAILED not in c]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of figures of celo benchmark update: {error!r}") from error
    for part in different:
        raise ValueError(
            f"{path} was measured with {part} {found[part]}, not {head[part]}; choose another file"
        )
    return earlier
