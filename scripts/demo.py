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
from typing import TYPE_CHECKING, Any, Literal

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

    preset: Literal["quick", "cpu", "paper"] = "quick"
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


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the report is written, or a signal stopped it and a checkpoint is written."""
    start = time.perf_counter()
    with checks.exit_with():
        command = checks.parse(Demo, argv, "celo demo", __doc__, ("run_dir", "out"))
        from celo.meta.presets import preset
        from celo.meta.runs.metrics import read_metrics
        from celo.meta.trainer import THETA_FILE, Settings, meta_train
        from celo.scripts import pipeline
        from celo.scripts.devices import Devices, set_up

        set_up(Devices(command.host_devices))
        recipe, data_dir = preset(command.preset), command.data_dir and str(command.data_dir)
        pipeline.check(command.request())  # now, so that missing data do not show up after minutes
        print(f"1. Meta-training on {', '.join(recipe.tasks)}, in {command.run_dir}", flush=True)
        result = meta_train(recipe, command.run_dir, Settings(data_dir=data_dir))
        if not result.finished:
            print(f"stopped by a signal; a checkpoint is in {result.path}, the same command resumes from it")
            return 0
        print("2. Training problems it has not seen, with it and with Adam", flush=True)
        request = command.request(f"{LABEL}:{result.path.absolute() / THETA_FILE}")
        outcome, stop = pipeline.train(request)
        if code := pipeline.conclude(outcome, stop):
            return code
        print("3. Results", flush=True)
        metrics = read_metrics(result.path / "metrics.jsonl")
        shown: dict[str, Any] = {"title": TITLE, "page_file": "index.html", "metrics": metrics}
        _, page = pipeline.show(request.folder, pipeline.of_request(request), command.out, **shown)
    print(f"Report with figures: {page}  ({time.perf_counter() - start:.0f} s in all)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
