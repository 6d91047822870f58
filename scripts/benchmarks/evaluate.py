"""Time evaluations: `celo benchmark evaluate --json OUT`.

Trainings per minute of a suite, Adam at every learning rate and seed, by the runner and by loops that train
one seed and one learning rate at a time (`celo.scripts.benchmarks.loops`). All take the same steps and
evaluations, start with nothing compiled and the data in memory, have all cores, and run in a new process. A
loop does some trainings of every task; the mean of all but the first stands for the rest. The
floating-point operations that each way does per second, next to what products of matrices reach alone on
the same devices, show how much there is left to gain.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from celo.scripts.benchmarks.measuring import MeasuringProcess, publish
from celo.scripts.devices import Devices, core_count, set_up

if TYPE_CHECKING:
    from celo.evaluation.sweep import Request

WAYS = ("runner", "scan", "stepwise", "recompiled")


@dataclasses.dataclass(frozen=True)
class EvaluateSpeed:
    """Time the runner of evaluations against loops over single trainings.

    Attributes:
        json: file for the figures; "" = print only.
        suite: suite of tasks; cpu if neither is given.
        tasks: names of tasks instead.
        data_dir: folder of datasets.
        steps: steps of every training.
        seeds: trainings at every learning rate.
        loop_trainings: trainings of each task that a loop does.
        batch: trainings per device call, as for `celo evaluate`.
    """

    json: str = ""
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    loop_trainings: int = 3
    batch: Annotated[int, tyro.conf.arg(aliases=("--trainings-at-once",))] = 0

    def check(self) -> None:
        """Checks names and folders."""
        self.request(Path("unused"))

    def request(self, folder: Path) -> Request:
        """The evaluation that is timed, in a folder."""
        from celo.evaluation.suites import tasks_of
        from celo.evaluation.sweep import Request

        tasks = tasks_of(self.suite or (None if self.tasks else "cpu5"), self.tasks)
        sizes = (self.steps, self.seeds)
        return Request(folder, tasks, ("adam",), *sizes, batch=self.batch, data_dir=self.data_dir)

    def run(self) -> None:
        """Times all ways and prints the figures."""
        figures: dict[str, Any] = {}
        for way in WAYS:
            with MeasuringProcess(cached=False) as process:
                found = figures[way] = process.ask(time_way, way=way, command=self)
            found["trainings_per_minute"] = round(60 * found["trainings"] / found["seconds"], 2)
            found["cells_per_minute"] = round(60 * len(found["tasks"]) / found["seconds"], 3)
            found["seconds"] = round(found["seconds"], 1)
            found["share_of_peak"] = float(f"{found['gigaflops'] / found['peak_gigaflops']:.3g}")
        speed = {way: figures[way]["trainings_per_minute"] for way in WAYS}
        for way in WAYS[1:]:
            figures[f"runner_over_{way}"] = round(speed["runner"] / speed[way], 2)
        publish({**figures, "steps": self.steps, "seeds": self.seeds, "cores": core_count()}, self.json)


def time_way(way: str, command: EvaluateSpeed) -> dict[str, Any]:
    """Times the runner or a loop in this process."""
    # The runner trains a task on each core; a loop has one device that is made of all cores.
    set_up(Devices(host_devices=0 if way == "runner" else 1))
    from celo.meta.tasks import make
    from celo.scripts.benchmarks.arithmetic import peak_gigaflops, training_operations

    with tempfile.TemporaryDirectory() as folder:
        evaluation = command.request(Path(folder))
        tasks = {name: make(name, evaluation.data_dir) for name in evaluation.tasks}
        # Counted first, so that an uncountable task shows at once.
        each = sum(training_operations(task, evaluation.plan) for task in tasks.values())
        if way == "runner":
            figures = time_runner(evaluation)
        else:
            figures = time_loop(way, tasks, evaluation, command.loop_trainings)
    count = figures["trainings"] / len(tasks)
    rates = {"gigaflops": 1e-9 * each * count / figures["seconds"], "peak_gigaflops": peak_gigaflops()}
    return figures | {name: float(f"{rate:.4g}") for name, rate in rates.items()}


def time_runner(evaluation: Request) -> dict[str, Any]:
    """Seconds from the moment the runner has read its data, and what it stores about every task."""
    from celo.evaluation.results import read
    from celo.evaluation.runner import Observer, run

    class Clock(Observer):
        start = 0.0

        def declared(self, trainings: int, found: int) -> None:
            self.start = time.perf_counter()

    clock = Clock()
    outcome = run(evaluation, clock)
    seconds = time.perf_counter() - clock.start
    if outcome.missing:
        raise RuntimeError(f"trainings failed: {outcome.failures}")
    rows, figures = read(evaluation.folder), {}
    for task in evaluation.tasks:
        own = [row for row in rows if row.task == task]
        first = min(own, key=lambda row: (row.setting["learning_rate"], row.seed))
        figures[task] = {
            "seconds": round(sum(row.seconds for row in own), 1),
            "compile_seconds": round(max(row.compile_seconds for row in own), 1),
            "trainings_at_once": max(row.trainings_at_once for row in own),
            "final_loss_of_first": first.final_loss,
        }
    return {"seconds": seconds, "trainings": len(rows), "tasks": figures}


def time_loop(way: str, tasks: dict[str, Any], evaluation: Request, trainings: int) -> dict[str, Any]:
    """Seconds of all trainings: those of the first, and the mean of the others times their number."""
    import jax

    from celo.evaluation.grids import learning_rates
    from celo.scripts.benchmarks.loops import LOOPS, seconds_of

    rates = [setting["learning_rate"] for setting in learning_rates(evaluation.grid)]
    keys = [jax.random.fold_in(jax.random.key(evaluation.seed), seed) for seed in range(evaluation.seeds)]
    pairs, figures = [(rate, key) for rate in rates for key in keys], {}
    for name, task in tasks.items():
        found = seconds_of(LOOPS[way], task, evaluation.plan, pairs[:trainings])
        seconds = found["first"] + found["each"] * (len(pairs) - 1)
        figures[name] = {"seconds": round(seconds, 1), **found}
    total = sum(found["seconds"] for found in figures.values())
    return {"seconds": total, "trainings": len(pairs) * len(tasks), "tasks": figures}
