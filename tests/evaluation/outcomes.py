"""Hand-made outcomes of comparisons, for tests of what is made of them."""

import numpy as np

from evaluation.outcome import Outcome, Trainings


def falling(final, steps=40):
    """Losses that fall exponentially from 2 to ``final``, and stay finite or not as it does."""
    final = np.asarray(final, np.float32)
    progress = np.arange(steps) / steps
    loss = 2.0 * (np.where(np.isfinite(final), final, 1.0)[..., None] / 2.0) ** progress
    return Trainings(loss.astype(np.float32), final)


def outcome(adam, learned, task="task", steps=40, rates=None):
    """An outcome from final losses: ``adam`` (rates, seeds), ``learned`` label -> (seeds,)."""
    trainings = {}
    for label, final in learned.items():
        eta = np.broadcast_to(np.linspace(0.1, 1.0, steps, dtype=np.float32), (len(final), steps))
        trainings[label] = falling(final, steps)._replace(eta=eta)
    rates = 10.0 ** np.arange(-len(adam), 0) if rates is None else np.asarray(rates)
    return Outcome(task, "nats", steps, rates, falling(adam, steps), trainings)
