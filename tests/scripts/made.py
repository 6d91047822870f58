"""Rows with constant losses, and a task that compiles in a fraction of the time, for tests of commands."""

import dataclasses

import numpy as np

from celo.evaluation import requested, results
from celo.evaluation.requested import Meaning, Pair, requested_by
from celo.meta.tasks import Quadratic
from tests.evaluation.rows import row

TASK = "ImageMLP_Digits8_Relu16_bs64"
BOWL = Quadratic.of([0.5, 2.0], target=3.0, name=TASK)
RATES = (1e-3, 1e-2, 1e-1)


def rows(losses, task="task", optimizer="adam", rates=RATES, **changes):
    """Trainings with these final losses (rates, seeds), with this loss at steps 0, 20 and 40 too."""
    made = []
    for rate, own in zip(rates, np.atleast_2d(np.asarray(losses, np.float32)), strict=False):
        setting = {"learning_rate": rate} if optimizer.startswith("adam") else {}
        for seed, loss in enumerate(own):
            curves = {"loss": np.full(40, loss), "evaluations": {"train_loss": np.full(3, loss)}}
            made.append(row(float(loss), task, optimizer, setting, seed, **(curves | changes)))
    return made


def store(folder, made, more=()):
    """Write rows to a folder of results; ``more`` are labels that were requested too."""
    for one in made:
        results.write(folder, [one])
    found = requested_by(made)
    others = {name: Meaning(name, name, False, ({},)) for name in more}
    pairs = [Pair(made[0].task, name, made[0].task_digest) for name in more]
    both = {"optimizers": {**found.optimizers, **others}, "pairs": (*found.pairs, *pairs)}
    requested.declare(folder, dataclasses.replace(found, **both))
    return folder
