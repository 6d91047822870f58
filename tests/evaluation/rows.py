"""Hand-made rows of an evaluation, for tests of what is computed from them."""

from typing import Any

import numpy as np

from celo.evaluation.results import Training, read

RATES = tuple({"learning_rate": rate} for rate in (1e-3, 1e-2, 1e-1))


def rows(final, task="task", optimizer="adam", settings=None, steps=40, **changes: Any):
    """Rows from final losses (settings, seeds), or (seeds,) for an optimizer without settings.

    The losses fall exponentially from 2 and reach the final loss with the last step. A final loss that is not
    finite stands for a training that diverges half-way.
    """
    final = np.atleast_2d(np.asarray(final, np.float32))
    if settings is None:
        settings = RATES if len(final) == 3 else ({},) * len(final)
    return [
        row(value, task, optimizer, setting, seed, steps, learned=len(final) == 1, **changes)
        for setting, values in zip(settings, final, strict=True)
        for seed, value in enumerate(values.tolist())
    ]


def row(final, task="task", optimizer="adam", setting=None, seed=0, steps=40, **changes: Any):
    """One row from its final loss."""
    setting = setting or {}
    finite = np.isfinite(final)
    bottom = final if finite and final > 0 else 0.5
    loss = (2.0 * (bottom / 2.0) ** (np.arange(steps) / max(1, steps - 1))).astype(np.float32)
    if not finite:
        loss[steps // 2 :] = np.nan
    fields = {
        "key": f"{task}/{optimizer}/{sorted(setting.items())}/{seed}",
        "task": task,
        "optimizer": optimizer,
        "spec": optimizer,
        "learned": not setting,
        "setting": setting,
        "seed": seed,
        "steps": steps,
        "loss": loss,
        "eta": None,
        "final_loss": float(np.float32(final)),
        "evaluation_steps": np.array([0, steps // 2, steps]),
        "evaluations": {"train_loss": loss[[0, steps // 2, -1]]},
        "loss_unit": "nats",
        "task_digest": f"digest of {task}",
        "optimizer_digest": f"digest of {optimizer}",
        "versions": {"jax": "0.0"},
        "revision": "abc",
        "device": "cpu",
    }
    return Training(**(fields | changes))


def curves(losses, **changes):
    """Rows of one setting from whole curves (seeds, steps), the final loss the last one."""
    losses = np.atleast_2d(np.asarray(losses, np.float32))
    return [
        row(float(one[-1]), seed=seed, steps=len(one), **({"loss": one} | changes))
        for seed, one in enumerate(losses)
    ]


def assert_same_rows(folder, expected):
    """Two folders hold the same trainings with the same numbers."""
    mine, theirs = ({(row.key, row.optimizer): row for row in read(one)} for one in (folder, expected))
    assert mine.keys() == theirs.keys()
    for key, row in theirs.items():
        found = mine[key]
        np.testing.assert_array_equal(found.loss, row.loss)
        assert found.final_loss == row.final_loss
        for name, values in row.evaluations.items():
            np.testing.assert_array_equal(found.evaluations[name], values)
