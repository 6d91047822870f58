"""Meta-train a small Celo in minutes and see how it does on problems it has never met.

`make demo` (or `celo demo`) meta-trains both stages on scikit-learn's digits with the preset quick, then
trains a deeper perceptron, an autoencoder and a language model with the new optimizer and with Adam at 14
learning rates. It prints a table and writes a report with pictures. Stopped, the same command goes on.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import tyro

from celo.evaluation.code_identity import code_identity
from celo.evaluation.comparison import Comparison, Entry, compare
from celo.evaluation.report.table import described
from celo.evaluation.report.write import write_report
from celo.meta.full_training import check_num_steps
from celo.meta.presets import preset
from celo.meta.runs.metrics import read_metrics
from celo.meta.tasks import make
from celo.meta.trainer import Settings, meta_train
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with

UNSEEN = (
    "ImageMLP_Digits8_Relu64x64x64_bs64",
    "ImageMLPAE_Digits8_32x16x32_bs64",
    "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16",
)
TITLE = "Celo, meta-trained in minutes, against Adam on problems it has not seen"


@dataclasses.dataclass(frozen=True)
class Demo:
    """Meta-train a small Celo, compare it with Adam on unseen problems, write a report.

    Attributes:
        preset: recipe of the meta-training: quick, cpu or paper.
        run_dir: folder of the meta-training.
        out: folder of the report.
        data_dir: folder of datasets where they are needed; default the variable CELO_DATA, then the hub.
        steps: steps of every training of the comparison.
        seeds: trainings of each optimizer on each problem.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
    """

    preset: str = "quick"
    run_dir: Path = Path("runs/demo")
    out: Path = Path("report")
    data_dir: str | None = None
    steps: int = 500
    seeds: int = 3
    host_devices: int = 0

    def __post_init__(self) -> None:
        """Checks now what is used only after the meta-training."""
        check_num_steps(self.steps)
        self.comparison()

    def comparison(self) -> Comparison:
        """How the optimizers are compared."""
        return Comparison(seeds=self.seeds, folder=self.out, log=lambda line: print(f"  {line}", flush=True))


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the report is written, or a signal stopped it and a checkpoint is written."""
    began = time.perf_counter()
    with exit_with():
        command = tyro.cli(Demo, args=argv, description=__doc__, prog="celo demo")
        recipe, comparison = preset(command.preset), command.comparison()
        set_up(Devices(command.host_devices))
        code_identity()  # now, as files may change while it meta-trains with what was imported
        unseen = [
            make(name, command.data_dir) for name in UNSEEN
        ]  # now, as missing data should not show after minutes
        print(f"1. Meta-training on {', '.join(recipe.tasks)}, in {command.run_dir}", flush=True)
        result = meta_train(recipe, command.run_dir, Settings(data_dir=command.data_dir))
        if not result.finished:
            print(f"stopped by a signal; a checkpoint is in {result.path}, the same command goes on from it")
            return 0
        print("2. Training problems it has not seen, with it and with Adam", flush=True)
        entry = Entry("Celo", result.learned, result.theta)
        outcomes = compare([entry], unseen, command.steps, comparison)
        print(f"3. Results\n\n{described(outcomes)}\n", flush=True)
        metrics = read_metrics(result.path / "metrics.jsonl")
        page = write_report(command.out, TITLE, outcomes, comparison, metrics)
    print(f"Report with pictures: {page}  ({time.perf_counter() - began:.0f} s in all)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
