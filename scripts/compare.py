"""Compare checkpoints of learned optimizers with Adam at its best learning rate.

`celo compare --checkpoints runs/mine/theta.safetensors --tasks ImageMLP_Mnist8_Relu32_bs64 --out report`
trains each task with each checkpoint and with Adam at 14 learning rates, prints a table and writes a report
with figures. Finished trainings stay in the report's folder, and the same command finds them again.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from celo.scripts import checks

TITLE = "Learned optimizers against Adam at its best learning rate"


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare checkpoints with tuned Adam on tasks, and write a report.

    Attributes:
        checkpoints: files or names for `celo.load`, each as CHECKPOINT, LABEL=CHECKPOINT or LABEL:CHECKPOINT.
        tasks: names of tasks, see `celo list tasks`, or module:object for your own.
        out: folder of the report; default "report", in the run folder if there is one.
        run_dir: run folder of a meta-training to show in the report as well.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        steps: steps of every training.
        seeds: trainings of each optimizer on each task.
        seed: seed of the random keys.
        batch: trainings per device call; 0 = one on a CPU, elsewhere as many as fit the memory.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
    """

    checkpoints: tuple[str, ...]
    tasks: tuple[str, ...]
    out: Path | None = None
    run_dir: Path | None = None
    data_dir: Path | None = None
    steps: int = 2000
    seeds: int = 3
    seed: int = 0
    batch: Annotated[int, tyro.conf.arg(aliases=("--trainings-at-once",))] = 0
    host_devices: int = 0

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.out or (self.run_dir or Path()) / "report"

    def run(self) -> int:
        """Trains Adam and the checkpoints and writes the report; 0 = it is written."""
        from celo.meta.runs.metrics import read_metrics
        from celo.scripts import pipeline
        from celo.scripts.devices import Devices, set_up

        set_up(Devices(self.host_devices))
        metrics = [] if self.run_dir is None else read_metrics(self.run_dir / "metrics.jsonl")
        sizes = (self.steps, self.seeds, self.seed)
        more = {"batch": self.batch, "data_dir": self.data_dir}
        request = pipeline.report_request(self.folder, self.tasks, self.checkpoints, *sizes, **more)
        code = pipeline.train(request)[1]
        return code or pipeline.show_page(request, self.folder, TITLE, metrics)


main = checks.program(Compare, "celo compare", __doc__, ("folder",))

if __name__ == "__main__":
    sys.exit(main())
