"""Hand-made comparisons on one task, for tests of what is made of them."""

import numpy as np

from celo.evaluation.selection import choose
from celo.evaluation.task_comparison import TaskComparison
from tests.evaluation.cells import cell


def outcome(adam, learned, task="task", steps=40, rates=None):
    """A comparison from final losses: ``adam`` (rates, seeds), ``learned`` label -> (seeds,)."""
    eta = np.broadcast_to(np.linspace(0.1, 1.0, steps, dtype=np.float32), (1, len(adam[0]), steps))
    runs = {label: choose(cell(final, task, label, steps=steps, eta=eta)) for label, final in learned.items()}
    rates = 10.0 ** np.arange(-len(adam), 0) if rates is None else np.asarray(rates)
    configurations = [{"learning_rate": float(rate)} for rate in rates]
    return TaskComparison(cell(adam, task, configurations=configurations, steps=steps), runs)
