"""Time the runner of evaluations: `celo benchmark evaluate --json OUT`.

Trainings per minute of a suite, Adam at every learning rate and seed: by the runner, and by loops that train
one seed and one learning rate at a time (`celo.scripts.benchmark_evaluate_loops`): a compiled scan per training, a
compiled step called from Python, and the same compiled anew for every training as a plain script does. All
take the same steps and evaluations, begin with nothing compiled, have all cores, and are timed in a process
of their own from the first task on, without reading the data. A loop does some trainings of every task; the
mean of all but the first stands for the rest. What products of matrices take of each way, and what they reach
alone on the same devices, shows how much there is left to gain.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from celo._core.files import write_atomically
from celo.evaluation.resources import Resources
from celo.evaluation.settings import Settings
from celo.evaluation.suites import tasks_of
from celo.scripts.devices import Devices, core_count, set_up

ONE_WAY = "evaluate-way"
Way = Literal["runner", "scan", "stepwise", "recompiled"]


@dataclasses.dataclass(frozen=True)
class EvaluateWay:
    """Time the runner or a loop in this process; `evaluate` calls it.

    Attributes:
        suite: of tasks.
        tasks: names of tasks instead.
        data_dir: folder of datasets.
        steps: of every training.
        seeds: of every learning rate.
        loop_trainings: trainings of each task that a loop does.
        trainings_at_once: as for `celo evaluate`.
        way: the runner, or which loop.
    """

    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    loop_trainings: int = 3
    trainings_at_once: int = 0
    way: Way = "runner"

    def __post_init__(self) -> None:
        """Checks the names and numbers."""
        tasks_of(self.suite, self.tasks)
        _ = self.settings, Resources(self.trainings_at_once)
        if self.loop_trainings < 2:
            raise ValueError(f"loop_trainings is {self.loop_trainings}; expected at least 2")

    @property
    def settings(self) -> Settings:
        """Those of an evaluation."""
        return Settings(self.steps, self.seeds)

    def run(self) -> None:
        """Times it and prints the figures as one line of JSON."""
        # The runner trains a cell on each core; a loop has one device that is made of all cores.
        set_up(Devices(host_devices=0 if self.way == "runner" else 1))
        from celo.meta.tasks import make
        from celo.scripts.arithmetic import peak_gigaflops

        tasks = {name: make(name, self.data_dir) for name in tasks_of(self.suite, self.tasks)}
        gigaflop = self._gigaflop(tasks)
        figures = self._runner(tasks) if self.way == "runner" else self._loop(tasks)
        rates = {"gigaflops": gigaflop / figures["seconds"], "peak_gigaflops": peak_gigaflops()}
        print(json.dumps(figures | {name: float(f"{rate:.4g}") for name, rate in rates.items()}))

    def _gigaflop(self, tasks: dict[str, Any]) -> float:
        """10^9 operations in all trainings; counted first, so that an uncountable task shows at once."""
        from celo.evaluation.contestants import contestant
        from celo.scripts.arithmetic import training_operations

        one = contestant("adam")
        each = sum(training_operations(task, one, self.settings.plan) for task in tasks.values())
        return 1e-9 * each * len(one.configurations) * self.seeds

    def _runner(self, tasks: dict[str, Any]) -> dict[str, Any]:
        from celo.evaluation.contestants import contestant
        from celo.evaluation.plan import Evaluation
        from celo.evaluation.runner import run

        loads = {name: partial(tasks.__getitem__, name) for name in tasks}
        with tempfile.TemporaryDirectory() as folder:
            evaluation = Evaluation([contestant("adam")], loads, self.settings, Path(folder))
            _ = evaluation.jobs  # digests of the data, which are part of reading them
            began = time.perf_counter()
            outcome = run(evaluation, Resources(self.trainings_at_once))
            seconds = time.perf_counter() - began
            if outcome.missing:
                raise RuntimeError(f"cells failed: {outcome.failures}")
            cells = {
                cell.task: {
                    "seconds": round(cell.info["seconds"], 1),
                    "compile_seconds": round(cell.info["compile_seconds"], 1),
                    "trainings_at_once": cell.info["trainings_at_once"],
                    "final_loss_of_first": float(cell.final_loss[0, 0]),
                }
                for cell in evaluation.results()
            }
            trainings = sum(cell.final_loss.size for cell in evaluation.results())
        return {"seconds": seconds, "trainings": trainings, "tasks": cells}

    def _loop(self, tasks: dict[str, Any]) -> dict[str, Any]:
        """Seconds of all trainings: those of the first, and the mean of the others times their number."""
        import jax

        from celo.evaluation.contestants import contestant
        from celo.scripts.benchmark_evaluate_loops import LOOPS, seconds_of

        one, figures = contestant("adam"), {}
        count = len(one.configurations) * self.seeds
        keys = [jax.random.fold_in(self.settings.key(), seed) for seed in self.settings.seed_numbers]
        pairs = [(row["learning_rate"], key) for row in one.configurations for key in keys]
        for name, task in tasks.items():
            found = seconds_of(LOOPS[self.way], task, one, self.settings, pairs[: self.loop_trainings])
            seconds = found["first"] + found["each"] * (count - 1)
            figures[name] = {"seconds": round(seconds, 1), **found}
        return {
            "seconds": sum(found["seconds"] for found in figures.values()),
            "trainings": count * len(tasks),
            "tasks": figures,
        }


@dataclasses.dataclass(frozen=True)
class EvaluateSpeed:
    """Time the runner of evaluations against loops over single trainings.

    Attributes:
        json: file for the figures; "" = print only.
        suite: of tasks; cpu if neither is given.
        tasks: names of tasks instead.
        data_dir: folder of datasets.
        steps: of every training.
        seeds: of every learning rate.
        loop_trainings: trainings of each task that a loop does.
        trainings_at_once: as for `celo evaluate`.
    """

    json: str = ""
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    loop_trainings: int = 3
    trainings_at_once: int = 0

    def __post_init__(self) -> None:
        """Checks everything before minutes are spent."""
        self._way("runner")
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(self.json).absolute().parent} for {self.json}")

    def run(self) -> None:
        """Times all ways and prints the figures."""
        ways: dict[str, Any] = {way: self._measure(self._way(way)) for way in get_args(Way)}
        for figures in ways.values():
            figures["trainings_per_minute"] = round(60 * figures["trainings"] / figures["seconds"], 2)
            figures["cells_per_minute"] = round(60 * len(figures["tasks"]) / figures["seconds"], 3)
            figures["seconds"] = round(figures["seconds"], 1)
            figures["share_of_peak"] = float(f"{figures['gigaflops'] / figures['peak_gigaflops']:.3g}")
        speed = {way: figures["trainings_per_minute"] for way, figures in ways.items()}
        ratios = {f"runner_over_{way}": round(speed["runner"] / speed[way], 2) for way in list(speed)[1:]}
        settings = {"steps": self.steps, "seeds": self.seeds, "cores": core_count()}
        text = json.dumps({**ways, **ratios, **settings}, indent=2)
        print(text)
        if self.json:
            write_atomically(Path(self.json), f"{text}\n".encode())

    def _way(self, way: Way) -> EvaluateWay:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del given["json"]
        if self.suite is None and not self.tasks:
            given["suite"] = "cpu"
        return EvaluateWay(**given, way=way)

    def _measure(self, way: EvaluateWay) -> dict[str, Any]:
        """Runs a way in a child process and takes its figures from the last line it prints."""
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        command = [sys.executable, "-m", "celo.scripts.benchmark", ONE_WAY, "--way", way.way]
        command += ["--tasks", *tasks_of(way.suite, way.tasks)]
        if way.data_dir is not None:
            command += ["--data-dir", str(way.data_dir)]
        for name in ("steps", "seeds", "loop_trainings", "trainings_at_once"):
            command += [f"--{name.replace('_', '-')}", str(getattr(way, name))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the process that timed the {way.way} ended with exit code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])
