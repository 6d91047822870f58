"""A process that does an evaluation, for tests that kill it: prints a line for every cell it finishes."""

import sys
from pathlib import Path

import jax
from celo.evaluation.contestants import Contestant
from celo.evaluation.plan import Evaluation
from celo.evaluation.rules import HandDesigned
from celo.evaluation.settings import Settings

from celo.evaluation.runner import Observer, run
from celo.meta.tasks import Quadratic, make

TASKS = {
    "ImageMLP_Digits8_Relu16_bs64": lambda: make("ImageMLP_Digits8_Relu16_bs64"),
    "pair": lambda: Quadratic.of([0.5, 2.0], target=3.0, noise=0.1, name="pair"),
    "triple": lambda: Quadratic.of([0.1, 1.0, 3.0], target=3.0, noise=0.1, name="triple"),
}
SETTINGS = Settings(steps=4, seeds=2, eval_every=2, eval_batches=1)


class Printing(Observer):
    """Prints what it hears."""

    def advanced(self, device, name, fraction):
        """Print that a cell was begun, or how much of it is done."""
        print(f"part {fraction:.3f} {name.words}" if fraction else f"begun {name.words}", flush=True)

    def finished(self, cell, how):
        """Print that a cell is finished."""
        print(f"{how} {cell.optimizer} on {cell.task}", flush=True)

    def log(self, line):
        """Print."""
        print(line, flush=True)


def evaluation(folder: Path) -> Evaluation:
    """Two optimizers on three tasks."""
    rates = ({"learning_rate": 0.01}, {"learning_rate": 0.1})
    contestants = [Contestant(name, HandDesigned(name), rates) for name in ("sgd", "adam")]
    return Evaluation(contestants, TASKS, SETTINGS, folder)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)  # a cell at a time
    sys.exit(len(run(evaluation(Path(sys.argv[1])), None, Printing()).missing))
