"""Hand-made trainings for tests of reports."""

import dataclasses
import math

import numpy as np

from celo.evaluation.results import Training

RATES = tuple({"learning_rate": rate} for rate in (1e-3, 1e-2, 1e-1))


def trainings(final, task="task", optimizer="adam", settings=None, steps=40, scheduled=False, **changes):
    """The trainings of an optimizer on a task, from final losses (settings, seeds).

    The losses fall exponentially from 2 and reach the final loss with the last step. A final loss that is not
    finite stands for a training that diverges half-way.
    """
    final = np.atleast_2d(np.asarray(final, np.float32))
    settings = settings or (RATES if len(final) == 3 else ({},) * len(final))
    return [
        _training(float(loss), seed, setting, task, optimizer, steps, scheduled, changes)
        for setting, losses in zip(settings, final, strict=True)
        for seed, loss in enumerate(losses)
    ]


def _training(final, seed, setting, task, optimizer, steps, scheduled, changes):
    finite = math.isfinite(final)
    bottom = final if finite and final > 0 else 0.5
    loss = (2.0 * (bottom / 2.0) ** (np.arange(steps) / (steps - 1))).astype(np.float32)
    if not finite:
        loss[steps // 2 :] = np.nan
    fields = {
        "key": f"{optimizer}@{task}@{seed}@{setting}".encode().hex()[:64],
        "task": task,
        "optimizer": optimizer,
        "spec": optimizer,
        "learned": not setting,
        "setting": setting,
        "seed": seed,
        "steps": steps,
        "loss": loss,
        "eta": np.linspace(0.1, 1.0, steps, dtype=np.float32) if scheduled else None,
        "final_loss": final,
        "evaluation_steps": np.array([0, steps // 2, steps]),
        "evaluations": {"train_loss": loss[[0, steps // 2, -1]]},
        "loss_unit": "nats",
        "step_seconds": 0.001,
        "seconds": 1.0,
        "device": "cpu",
        "versions": {"jax": "0.0"},
    }
    return Training(**(fields | changes))


def replaced(rows, **changes):
    """The rows with other values in some fields."""
    return [dataclasses.replace(row, **changes) for row in rows]
