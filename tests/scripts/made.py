"""Rows made by hand, and a task that compiles in a fraction of the time, for tests of commands."""

import dataclasses

import numpy as np

from celo.evaluation import requested, results
from celo.evaluation.requested import Meaning, Pair, Requested
from celo.evaluation.results import Training
from celo.meta.tasks import Quadratic

TASK = "ImageMLP_Digits8_Relu16_bs64"
BOWL = Quadratic.of([0.5, 2.0], target=3.0, name=TASK)
RATES = (1e-3, 1e-2, 1e-1)


def rows(losses, task="task", optimizer="adam", rates=RATES, **changes):
    """Trainings with these final losses (rates, seeds), with this loss at steps 0, 20 and 40 too."""
    made = []
    for place, own in enumerate(np.atleast_2d(np.asarray(losses, np.float32))):
        for seed, loss in enumerate(own):
            row = Training(
                key=f"{task} {optimizer} {place} {seed}",
                task=task,
                optimizer=optimizer,
                spec=optimizer,
                learned=not optimizer.startswith("adam"),
                setting={"learning_rate": rates[place]} if optimizer.startswith("adam") else {},
                seed=seed,
                steps=40,
                loss=np.full(40, loss, np.float32),
                eta=None,
                final_loss=float(loss),
                evaluation_steps=np.array([0, 20, 40]),
                evaluations={"train_loss": np.full(3, loss, np.float32)},
                evaluation_batches=5,
                task_digest=f"digest of {task}",
                optimizer_digest=f"digest of {optimizer}",
            )
            made.append(dataclasses.replace(row, **changes))
    return made


def store(folder, made, more=()):
    """Write rows to a folder of results; ``more`` are labels that were requested too."""
    for row in made:
        results.write(folder, [row])
    meanings = {}
    for row in made:
        before = meanings.get(row.optimizer)
        settings = dict.fromkeys(
            map(frozenset, [dict(one).items() for one in before.settings] if before else [])
        )
        settings[frozenset(row.setting.items())] = None
        meanings[row.optimizer] = Meaning(
            row.spec, row.optimizer_digest, row.learned, tuple(map(dict, settings))
        )
    meanings |= {name: Meaning(name, name, False, ({},)) for name in more}
    pairs = [Pair(row.task, row.optimizer, row.task_digest) for row in made]
    pairs += [Pair(made[0].task, name, made[0].task_digest) for name in more]
    seeds = 1 + max(row.seed for row in made)
    settings = {"steps": 40, "seeds": seeds, "seed": 0, "eval_batches": 5}
    requested.declare(folder, Requested(settings, meanings, tuple(dict.fromkeys(pairs))))
    return folder
