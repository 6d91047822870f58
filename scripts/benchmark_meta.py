"""Time meta-training: `celo benchmark meta --json OUT`.

Seconds per meta-iteration at the Celo paper's scale (4 task families x 8 problems x both signs x 50 inner
steps, MLP 64-32-10, batch 64), and seconds from the start of a process to its first meta-iteration done, with
nothing cached. The images are random numbers of the shapes and sizes of the four datasets: arithmetic does
not depend on them, and no data need be at hand. A meta-iteration is the whole compiled call: sampling of
data, inner training, meta-gradient, AdamW on theta, and its measures back on the host.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from celo._core.files import write_atomically
from celo.scripts.devices import Devices, set_up

FAMILIES = {"mnist": 48_000, "fashion_mnist": 48_000, "svhn": 58_605, "cifar10": 40_000}
PAPER_ITERATIONS = 100_000


@dataclasses.dataclass(frozen=True)
class Meta:
    """Time meta-iterations of both stages, each in a process of its own with an empty compilation cache.

    Attributes:
        json: file for the figures; "" = print only.
        calls: compiled calls timed per stage.
        iterations: meta-iterations per call.
        host_devices: devices to make of the CPU; 0 = one per core.
    """

    json: str = ""
    calls: int = 10
    iterations: int = 10
    host_devices: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers and the place for the figures before minutes are spent."""
        check_counts(self.calls, self.iterations)
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(self.json).absolute().parent} for {self.json}")

    def run(self) -> None:
        """Times both stages and prints the figures."""
        stages = {f"stage{part}": self._stage(part) for part in (1, 2)}
        hours = sum(s["seconds_per_meta_iteration"] for s in stages.values()) * PAPER_ITERATIONS / 3600
        figures = {
            **stages,
            "peak_memory_mib": max(s["peak_memory_mib"] for s in stages.values()),
            "hours_for_the_papers_200000_meta_iterations": round(hours, 2),
        }
        text = json.dumps(figures, indent=2)
        print(text)
        if self.json:
            write_atomically(Path(self.json), f"{text}\n".encode())

    def _stage(self, part: int) -> dict[str, Any]:
        """Runs `MetaStage` in a child process and takes its figures from the last line it prints."""
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        arguments = ["--part", part, "--calls", self.calls, "--iterations", self.iterations]
        arguments += ["--host-devices", self.host_devices, "--began", time.time()]
        command = [sys.executable, "-m", "celo.scripts.benchmark", "meta-stage", *map(str, arguments)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the process that timed stage {part} ended with exit code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])


@dataclasses.dataclass(frozen=True)
class MetaStage:
    """Time one stage in this process; `meta` calls it.

    Attributes:
        part: stage, 1 or 2.
        calls: compiled calls timed.
        iterations: meta-iterations per call.
        host_devices: devices to make of the CPU; 0 = one per core.
        began: when the process was started, in seconds since the epoch; 0 = now.
    """

    part: int = 1
    calls: int = 10
    iterations: int = 10
    host_devices: int = 0
    began: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_counts(self.calls, self.iterations)

    def run(self) -> None:
        """Times the stage and prints its figures as one line of JSON."""
        began = self.began or time.time()
        import jax

        from celo.meta.compile import jit_once

        set_up(Devices(host_devices=self.host_devices))
        program = paper_program(self.part, self.iterations)
        program.prepare()
        state = program.begin(jit_once(program.learned.init)(jax.random.key(1)))
        state, _ = program.run(state, 1)
        to_first = time.time() - began
        seconds = []
        for _ in range(self.calls):
            start = time.perf_counter()
            state, _ = program.run(state, self.iterations)
            seconds.append((time.perf_counter() - start) / self.iterations)
        figures = {
            "seconds_per_meta_iteration": round(statistics.median(seconds), 4),
            "fastest_call": round(min(seconds), 4),
            "slowest_call": round(max(seconds), 4),
            "seconds_to_first": round(to_first, 2),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "devices": [str(device) for device in program.mesh.devices.flat],
        }
        print(json.dumps(figures))


def check_counts(calls: int, iterations: int) -> None:
    """Raises ValueError unless there is something to time."""
    if calls < 1 or iterations < 1:
        raise ValueError(f"calls is {calls} and iterations {iterations}; expected at least 1 of each")


def paper_program(part: int, most_iterations: int) -> Any:
    """A stage of the paper's recipe on random images."""
    import jax
    import numpy as np

    from celo.meta.data.images import ImageData, ImageSplit
    from celo.meta.presets import preset
    from celo.meta.program import StageProgram
    from celo.meta.tasks import ImageMLP

    rng = np.random.default_rng(0)

    def split(size: int) -> ImageSplit:
        images = rng.integers(0, 4081, (size, 8, 8, 1), dtype=np.uint16)
        return ImageSplit(images, rng.integers(0, 10, size, dtype=np.int32))

    def family(name: str, size: int) -> ImageMLP:
        splits = {"train": split(size)} | {s: split(64) for s in ("inner_valid", "outer_valid", "test")}
        return ImageMLP.of(ImageData(name, splits, 10, 4080))

    tasks = [family(name, size) for name, size in FAMILIES.items()]
    recipe = preset("paper")
    stage = recipe.stages[part - 1]
    return StageProgram(stage, recipe.learned(stage), tasks, jax.random.key(0), most_iterations)
