"""Time meta-training: `celo benchmark meta --json OUT`.

Seconds per meta-iteration at the Celo paper's scale (4 task families x 8 problems x both signs x 50 inner
steps, MLP 64-32-10, batch 64), and seconds from the start of a process to the end of its first meta-iteration
with nothing cached. Images are random numbers with the shapes and sizes of the four datasets, so no data are
needed. A meta-iteration is the whole compiled call: sampling, inner training, meta-gradient, AdamW on theta,
and its metrics back on the host.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from typing import Any

from celo.scripts.benchmarks.measuring import MeasuringProcess, publish
from celo.scripts.devices import Devices, set_up

FAMILIES = {"mnist": 48_000, "fashion_mnist": 48_000, "svhn": 58_605, "cifar10": 40_000}
PAPER_ITERATIONS = 100_000


@dataclasses.dataclass(frozen=True)
class Meta:
    """Time meta-iterations of both stages, each in a new process with an empty compilation cache.

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

    def run(self) -> None:
        """Times both stages and prints the figures."""
        figures: dict[str, Any] = {}
        for number in (1, 2):
            with MeasuringProcess(cached=False) as process:
                figures[f"stage{number}"] = process.ask(
                    time_stage, number=number, command=self, started=time.time()
                )
        stages = list(figures.values())
        hours = sum(stage["seconds_per_meta_iteration"] for stage in stages) * PAPER_ITERATIONS / 3600
        figures["peak_memory_mib"] = max(stage["peak_memory_mib"] for stage in stages)
        figures["hours_for_the_papers_200000_meta_iterations"] = round(hours, 2)
        publish(figures, self.json)


def time_stage(number: int, command: Meta, started: float) -> dict[str, Any]:
    """Times a stage of the paper's recipe in this process, which started at a time since the epoch."""
    import jax

    from celo.meta.compile import jit_once

    set_up(Devices(command.host_devices))
    iterations = command.iterations
    program = paper_program(number, iterations)
    program.prepare()
    state = program.begin(jit_once(program.learned.init)(jax.random.key(1)))
    state, _ = program.run(state, 1)
    to_first, seconds = time.time() - started, []
    for _ in range(command.calls):
        start = time.perf_counter()
        state, _ = program.run(state, iterations)
        seconds.append((time.perf_counter() - start) / iterations)
    return {
        "seconds_per_meta_iteration": round(statistics.median(seconds), 4),
        "fastest_call": round(min(seconds), 4),
        "slowest_call": round(max(seconds), 4),
        "seconds_to_first": round(to_first, 2),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "devices": [str(device) for device in program.mesh.devices.flat],
    }


def paper_program(number: int, most_iterations: int) -> Any:
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
    stage = recipe.stages[number - 1]
    return StageProgram(stage, recipe.learned(stage), tasks, jax.random.key(0), most_iterations)
