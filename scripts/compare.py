"""Compare checkpoints of learned optimizers with Adam at its best learning rate.

`celo compare --checkpoints runs/mine/theta.safetensors --tasks ImageMLP_Mnist8_Relu32_bs64 --out report`
trains each task with each checkpoint and with Adam at 14 learning rates, prints a table and writes a report
with pictures. Finished trainings are kept in the report's folder and found again.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from celo.evaluation.comparison import Comparison, Entry, compare
from celo.evaluation.contestants import label_and_place, load_labelled
from celo.evaluation.report.table import described
from celo.evaluation.report.write import write_report
from celo.meta.full_training import check_num_steps
from celo.meta.runs.metrics import read_metrics
from celo.meta.tasks import make
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare checkpoints with tuned Adam on tasks, and write a report.

    Attributes:
        checkpoints: files or names for `celo.load`, each as CHECKPOINT, LABEL=CHECKPOINT or LABEL:CHECKPOINT.
        tasks: names of tasks, see `celo.meta.tasks.TASKS`.
        out: folder of the report; default "report", in the run folder if there is one.
        run_dir: run folder whose meta-training to picture as well.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        steps: steps of every training.
        seeds: trainings of each optimizer on each task.
        seed: of the random keys.
        trainings_at_once: the most trainings of Adam that a device does at a time; 0 = one on a CPU,
            elsewhere as many as fit the memory.
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
    trainings_at_once: int = 0
    host_devices: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers before anything is loaded."""
        check_num_steps(self.steps)
        self.comparison()

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.out or (self.run_dir or Path()) / "report"

    def comparison(self) -> Comparison:
        """How the optimizers are compared."""
        return Comparison(
            seeds=self.seeds,
            seed=self.seed,
            trainings_at_once=self.trainings_at_once,
            folder=self.folder,
            log=lambda line: print(f"  {line}", flush=True),
        )


def entry(checkpoint: str) -> Entry:
    """A checkpoint as an entry of the comparison.

    Args:
        checkpoint: CHECKPOINT, LABEL=CHECKPOINT or LABEL:CHECKPOINT; without a label it is called by its
            class and its place. A path may hold "=" too, as in runs/lr=1e-3/theta.safetensors: what names an
            existing file, or has a "/" before the "=", has no label; a colon is read as
            `celo.evaluation.contestants.label_and_place` does.
    """
    label, place = label_and_place(checkpoint)
    head, equals, tail = checkpoint.partition("=")
    if equals and not {"/", ":"} & set(head) and not Path(checkpoint).is_file():
        label, place = head, tail
    learned, theta = load_labelled(label, place)
    return Entry(f"{type(learned).__name__} ({place})" if label == place else label, learned, theta)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the report is written."""
    with exit_with():
        command = tyro.cli(Compare, args=argv, description=__doc__, prog="celo compare")
        comparison = command.comparison()
        set_up(Devices(command.host_devices))
        metrics = [] if command.run_dir is None else read_metrics(command.run_dir / "metrics.jsonl")
        entries = [entry(checkpoint) for checkpoint in command.checkpoints]
        tasks = [make(name, command.data_dir) for name in command.tasks]
        outcomes = compare(entries, tasks, command.steps, comparison)
        print(f"\n{described(outcomes)}\n")
        title = "Learned optimizers against Adam at its best learning rate"
        page = write_report(command.folder, title, outcomes, comparison, metrics)
    print(f"Report with pictures: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
