"""Units of the losses of tasks."""

from __future__ import annotations

from celo.meta.tasks import TASKS

_UNITS = {
    "image_mlp_ae": "mean squared error",
    "rnn_lm": "nats per token",
    "byte_rnn_lm": "nats per token",
    "transformer_lm": "nats per token",
    "lopt": "normalised inner loss",
    "lopt_pes": "normalised inner loss",
    "quadratics": "loss",
}


def loss_unit(task: str) -> str:
    """The unit of a task's loss.

    Args:
        task: name of the task.

    Returns:
        A unit in words; "nats" for families of classifiers, "loss" for a task that is not registered.

    Example:
        >>> loss_unit("ImageMLP_Digits8_Relu32_bs64")
        'nats'
    """
    return _UNITS.get(TASKS[task].family, "nats") if task in TASKS else "loss"
