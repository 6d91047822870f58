"""Meta-train a small Celo in minutes and test it on problems it has never met.

`make demo` (or `celo demo`) meta-trains both stages on scikit-learn's digits with the preset quick, then
trains the suite quick with the new optimizer and with Adam at 14 learning rates. It prints a table and
writes a report with figures. The same command resumes after a stop.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from celo.scripts import checks

if TYPE_CHECKING:
    from celo.evaluation.sweep import Request

TITLE = "Celo, meta-trained in minutes, against Adam on problems it has not seen"
LABEL = "Celo"


@dataclasses.dataclass(frozen=True)
class Demo:
    """Meta-train a small Celo, compare it with Adam on unseen problems, write a report.

    Attributes:
        preset: recipe of the meta-training.
        run_dir: folder of the meta-training.
        out: folder of the report.
        data_dir: folder of datasets where they are needed; default the variable CELO_DATA, then the hub.
        steps: steps of every training of the comparison.
        seeds: trainings of each optimizer on each problem.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
    """

    preset: Literal["quick", "cpu", "wide", "paper"] = "quick"
    run_dir: Path = Path("runs/demo")
    out: Path = Path("report")
    data_dir: Path | None = None
    steps: int = 500
    seeds: int = 3
    host_devices: int = 0

    def request(self, *learned: str) -> Request:
        """The evaluation: suite quick with Adam and the learned optimizers given."""
        from celo.evaluation.suites import tasks_of
        from celo.scripts.pipeline import report_request

        sizes = (self.steps, self.seeds)
        return report_request(self.out, tasks_of("quick"), learned, *sizes, data_dir=self.data_dir)

    def run(self) -> int:
        """Runs it all; 0 = the report is written, or a signal stopped it and a checkpoint is written."""
        from celo.evaluation.sweep import sweep
        from celo.meta.presets import preset
        from celo.meta.runs.metrics import read_metrics
        from celo.meta.trainer import THETA_FILE, Settings, meta_train
        from celo.scripts import pipeline
        from celo.scripts.devices import Devices, set_up

        start = time.perf_counter()
        set_up(Devices(self.host_devices))
        recipe, data_dir = preset(self.preset), self.data_dir and str(self.data_dir)
        sweep(self.request())  # now, so that missing data do not show up after minutes
        print(f"1. Meta-training on {', '.join(recipe.tasks)}, in {self.run_dir}", flush=True)
        result = meta_train(recipe, self.run_dir, Settings(data_dir=data_dir))
        if not result.finished:
            print(f"stopped by a signal; a checkpoint is in {result.path}, the same command resumes from it")
            return 0
        print("2. Training problems it has not seen, with it and with Adam", flush=True)
        request = self.request(f"{LABEL}:{result.path.absolute() / THETA_FILE}")
        if code := pipeline.train(request)[1]:
            return code
        print("3. Results", flush=True)
        pipeline.show_page(request, self.out, TITLE, read_metrics(result.path / "metrics.jsonl"))
        print(f"{time.perf_counter() - start:.0f} s in all")
        return 0


main = checks.program(Demo, "celo demo", __doc__, ("run_dir", "out"))

if __name__ == "__main__":
    sys.exit(main())
