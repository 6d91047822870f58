"""Time the runner of evaluations: `celo benchmark evaluate --json OUT`.

Trainings per minute of a suite, Adam at every learning rate and seed: by the runner, and by a loop that
trains one seed and one learning rate at a time with a program compiled once per task. Both take the same
steps and evaluations, begin with nothing compiled, have all cores, and are timed in a process of their own
from the first task on, without reading the data. The loop does some trainings of every task, whose mean
stands for the rest.
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
from typing import Any, Literal

from celo.files import write_atomically
from evaluation.settings import Settings
from evaluation.suites import tasks_of
from scripts.devices import Devices, set_up

ONE_WAY = "evaluate-way"


@dataclasses.dataclass(frozen=True)
class EvaluateWay:
    """Time the runner or the loop in this process; `evaluate` calls it.

    Attributes:
        suite: of tasks.
        tasks: names of tasks instead.
        data_dir: folder of datasets.
        steps: of every training.
        seeds: of every learning rate.
        loop_trainings: trainings of each task that the loop does.
        way: runner or loop.
    """

    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    loop_trainings: int = 3
    way: Literal["runner", "loop"] = "runner"

    def __post_init__(self) -> None:
        """Checks the names and numbers."""
        tasks_of(self.suite, self.tasks)
        _ = self.settings
        if self.loop_trainings < 1:
            raise ValueError(f"loop_trainings is {self.loop_trainings}; expected at least 1")

    @property
    def settings(self) -> Settings:
        """Those of an evaluation."""
        return Settings(self.steps, self.seeds)

    def run(self) -> None:
        """Times it and prints the figures as one line of JSON."""
        # The runner trains a cell on each core; the loop has one device that is made of all cores.
        set_up(Devices(host_devices=0 if self.way == "runner" else 1))
        from meta.tasks import make

        tasks = {name: make(name, self.data_dir) for name in tasks_of(self.suite, self.tasks)}
        print(json.dumps(self._runner(tasks) if self.way == "runner" else self._loop(tasks)))

    def _runner(self, tasks: dict[str, Any]) -> dict[str, Any]:
        from evaluation.contestants import contestant
        from evaluation.plan import Evaluation
        from evaluation.runner import run

        loads = {name: partial(tasks.__getitem__, name) for name in tasks}
        with tempfile.TemporaryDirectory() as folder:
            evaluation = Evaluation([contestant("adam")], loads, self.settings, Path(folder))
            _ = evaluation.jobs  # digests of the data, which are part of reading them
            began = time.perf_counter()
            outcome = run(evaluation)
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
        """Seconds of all trainings: what compiling took, and the mean of those done times their number."""
        import jax
        import numpy as np

        from evaluation.contestants import contestant
        from meta.compile import jit

        one, plan = contestant("adam"), self.settings.plan
        count = len(one.configurations) * self.seeds

        def train(task: Any, rate: Any, key: Any) -> Any:
            optimizer = one.rule.optimizer((), {"learning_rate": rate}, self.steps)
            begun = plan.begin(task, optimizer, key)
            progress = plan.advance(task, optimizer, key, begun, 0, plan.evaluations)
            return plan.final_loss(task, key, progress), progress.loss, progress.evaluations

        program, figures = jit(train), {}
        keys = [jax.random.fold_in(self.settings.key(), seed) for seed in self.settings.seed_numbers]
        rates = [np.float32(each["learning_rate"]) for each in one.configurations]
        pairs = [(rate, key) for rate in rates for key in keys][: self.loop_trainings]
        for name, task in tasks.items():
            began = time.perf_counter()
            compiled = program.lower(task, *pairs[0]).compile()
            compile_seconds = time.perf_counter() - began
            results = [jax.device_get(compiled(task, *pair)) for pair in pairs]
            each = (time.perf_counter() - began - compile_seconds) / len(pairs)
            figures[name] = {
                "seconds": round(compile_seconds + each * count, 1),
                "compile_seconds": round(compile_seconds, 1),
                "seconds_per_training": round(each, 3),
                "final_loss_of_first": float(results[0][0]),
            }
        return {
            "seconds": sum(found["seconds"] for found in figures.values()),
            "trainings": count * len(tasks),
            "tasks": figures,
        }


@dataclasses.dataclass(frozen=True)
class EvaluateSpeed:
    """Time the runner of evaluations against a loop over single trainings.

    Attributes:
        json: file for the figures; "" = print only.
        suite: of tasks; cpu if neither is given.
        tasks: names of tasks instead.
        data_dir: folder of datasets.
        steps: of every training.
        seeds: of every learning rate.
        loop_trainings: trainings of each task that the loop does.
    """

    json: str = ""
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    loop_trainings: int = 3

    def __post_init__(self) -> None:
        """Checks everything before minutes are spent."""
        self._way("runner")
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(self.json).absolute().parent} for {self.json}")

    def run(self) -> None:
        """Times both and prints the figures."""
        ways = {way: self._measure(self._way(way)) for way in ("loop", "runner")}
        for figures in ways.values():
            figures["trainings_per_minute"] = round(60 * figures["trainings"] / figures["seconds"], 2)
            figures["cells_per_minute"] = round(60 * len(figures["tasks"]) / figures["seconds"], 3)
            figures["seconds"] = round(figures["seconds"], 1)
        ratio = ways["runner"]["trainings_per_minute"] / ways["loop"]["trainings_per_minute"]
        settings = {"steps": self.steps, "seeds": self.seeds, "cores": os.cpu_count()}
        text = json.dumps({**ways, "runner_over_loop": round(ratio, 2), **settings}, indent=2)
        print(text)
        if self.json:
            write_atomically(Path(self.json), f"{text}\n".encode())

    def _way(self, way: Literal["runner", "loop"]) -> EvaluateWay:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del given["json"]
        if self.suite is None and not self.tasks:
            given["suite"] = "cpu"
        return EvaluateWay(**given, way=way)

    def _measure(self, way: EvaluateWay) -> dict[str, Any]:
        """Runs a way in a child process and takes its figures from the last line it prints."""
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        command = [sys.executable, "-m", "scripts.benchmark", ONE_WAY, "--way", way.way]
        command += ["--tasks", *tasks_of(way.suite, way.tasks)]
        if way.data_dir is not None:
            command += ["--data-dir", str(way.data_dir)]
        for name in ("steps", "seeds", "loop_trainings"):
            command += [f"--{name.replace('_', '-')}", str(getattr(way, name))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the process that timed the {way.way} ended with exit code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])
