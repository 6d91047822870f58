"""Hand-made cells of an evaluation, for tests of what is made of them."""

import numpy as np

from celo.evaluation.cell import CellResult

RATES = tuple({"learning_rate": rate} for rate in (1e-3, 1e-2, 1e-1))


def cell(final, task="task", optimizer="adam", configurations=None, steps=40, **changes):
    """A cell from final losses (configurations, seeds), or (seeds,) for an optimizer without any.

    The losses fall exponentially from 2 and reach the final loss with the last step. A final loss that is not
    finite stands for a training that diverges half-way.
    """
    final = np.atleast_2d(np.asarray(final, np.float32))
    finite = np.isfinite(final)
    bottom = np.where(finite & (final > 0), final, 0.5)[..., None]
    loss = 2.0 * (bottom / 2.0) ** (np.arange(steps) / (steps - 1))
    loss[~finite, steps // 2 :] = np.nan
    if configurations is None:
        configurations = RATES if len(final) == 3 else ({},) * len(final)
    fields = {
        "task": task,
        "optimizer": optimizer,
        "key": f"{optimizer}@{task}".encode().hex().ljust(64, "0")[:64],
        "learned": len(final) == 1,
        "configurations": tuple(configurations),
        "seeds": tuple(range(final.shape[1])),
        "num_steps": steps,
        "loss_unit": "nats",
        "loss": loss.astype(np.float32),
        "final_loss": final,
        "evaluation_steps": np.array([0, steps // 2, steps]),
        "evaluations": {"train_loss": loss[..., [0, steps // 2, -1]].astype(np.float32)},
        "eta": None,
        "info": {"seconds": 1.0, "seconds_per_step": 0.001, "provenance": {"versions": {"jax": "0.0"}}},
    }
    return CellResult(**(fields | changes))


def curve(losses, **changes):
    """A cell of one configuration from whole curves (seeds, steps), the final loss the last one."""
    losses = np.atleast_2d(np.asarray(losses, np.float32))
    fields = {"steps": losses.shape[1], "loss": losses[None]} | changes
    return cell(losses[:, -1], **fields)
