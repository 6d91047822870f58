"""Time meta-training: `celo benchmark meta --json OUT`.

Seconds per meta-iteration at the Celo paper's scale (4 task families x 8 problems x both signs x 50 inner
steps, MLP 64-32-10, batch 64), and seconds from the start of a process to the end of its first meta-iteration
with nothing cached. Images are random numbers with the shapes and sizes of the four datasets, so no data are
needed. A meta-iteration is the whole compiled call: sampling, inner training, meta-gradient, AdamW on theta,
and its metrics back on the host.

Machines differ, so a yardstick is timed in turns with the meta-iterations: as many trainings as one of them
holds (64 perceptrons of one family for 50 steps by Celo's rule), alone, vmapped on one device.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable
from operator import truediv
from typing import Any

from celo.scripts.benchmarks.measuring import MeasuringProcess, publish
from celo.scripts.devices import Devices, set_up

FAMILIES = {"mnist": 48_000, "fashion_mnist": 48_000, "svhn": 58_605, "cifar10": 40_000}
PAPER_ITERATIONS = 100_000
YARDSTICK_TRAININGS, YARDSTICK_STEPS = 64, 50


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
        yardsticks = statistics.mean(stage["yardstick_seconds"] for stage in stages)
        figures["yardstick_seconds"] = round(yardsticks, 4)
        figures["peak_memory_mib"] = max(stage["peak_memory_mib"] for stage in stages)
        figures["hours_for_the_papers_200000_meta_iterations"] = round(hours, 2)
        publish(figures, self.json)


def time_stage(number: int, command: Meta, started: float) -> dict[str, Any]:
    """Times a stage of the paper's recipe in this process, which started at a time since the epoch.

    Rounds of one call of meta-iterations and as many yardsticks, in turns, so that a drift of the machine
    cancels in their ratio.
    """
    import jax

    from celo.meta.compile import jit_once

    set_up(Devices(command.host_devices))
    iterations = command.iterations
    program, family = paper_program(number, iterations)
    program.prepare()
    state = program.begin(jit_once(program.learned.init)(jax.random.key(1)))
    state, _ = program.run(state, 1)
    to_first = time.time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # before the yardstick takes memory
    measure, seconds, yardsticks = yardstick(family), [], []
    for _ in range(command.calls):
        start = time.perf_counter()
        state, _ = program.run(state, iterations)
        middle = time.perf_counter()
        for _ in range(iterations):
            measure()
        seconds.append((middle - start) / iterations)
        yardsticks.append((time.perf_counter() - middle) / iterations)
    return {
        "seconds_per_meta_iteration": round(statistics.median(seconds), 4),
        "fastest_call": round(min(seconds), 4),
        "slowest_call": round(max(seconds), 4),
        "yardstick_seconds": round(statistics.median(yardsticks), 4),
        "over_yardstick": round(statistics.median(map(truediv, seconds, yardsticks)), 3),
        "seconds_to_first": round(to_first, 2),
        "peak_memory_mib": peak,
        "devices": [str(device) for device in program.mesh.devices.flat],
    }


def yardstick(task: Any) -> Callable[[], Any]:
    """Returns a compiled function that trains independent perceptrons by Celo's rule: their losses."""
    import jax

    from celo import learned_optimizer
    from celo.meta.compile import jit, jit_once
    from celo.meta.full_training import train

    rule = learned_optimizer("celo", stage=1)
    theta = jit_once(rule.init)(jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), YARDSTICK_TRAININGS)

    @jit
    def losses(task: Any, theta: Any, keys: Any) -> Any:
        optimizer = rule.optimizer(theta, YARDSTICK_STEPS)
        return jax.vmap(lambda key: train(task, optimizer, key, YARDSTICK_STEPS).loss)(keys)

    jax.block_until_ready(losses(task, theta, keys))
    return lambda: jax.device_get(losses(task, theta, keys))


def paper_program(number: int, most_iterations: int) -> tuple[Any, Any]:
    """A stage of the paper's recipe on random images, and one of its task families."""
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
    program = StageProgram(stage, recipe.learned(stage), tasks, jax.random.key(0), most_iterations)
    return program, tasks[0]
