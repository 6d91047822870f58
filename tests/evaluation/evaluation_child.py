"""A process that trains a sweep, for tests that kill it: prints a line for every training it finishes."""

import sys
from pathlib import Path

import jax

from celo.evaluation.runner import Observer, run
from celo.evaluation.sweep import Request

TASKS = ("tests.evaluation.bowl:BOWL", "tests.evaluation.bowl:TRIPLE")


class Printing(Observer):
    """Prints what it hears."""

    def declared(self, trainings, found):
        """Print how much is left."""
        print(f"left {trainings - found}", flush=True)

    def finished(self, rows, how):
        """Print that rows are in the folder."""
        for row in rows:
            sys.stdout.write(f"{how} {row.key} {row.optimizer}\n")  # one write: threads do not mix
        sys.stdout.flush()

    def log(self, line):
        """Print."""
        print(line, flush=True)


def request(folder):
    """Two optimizers at 14 rates on two tasks, three seeds: 168 trainings."""
    return Request(Path(folder), TASKS, ("sgd", "adam"), steps=4, seeds=3, eval_every=2, eval_batches=1)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
    sys.exit(bool(run(request(sys.argv[1]), Printing()).missing))
