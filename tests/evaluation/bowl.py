"""A small evaluation, of Adam on a quadratic bowl, and optimizers and tasks of a user."""

from pathlib import Path

import optax

from celo.evaluation.results import read
from celo.evaluation.runner import Observer, run
from celo.evaluation.sweep import Request
from celo.meta.data import DatasetNotFoundError
from celo.meta.tasks import Quadratic

NAME = "tests.evaluation.bowl:BOWL"
BOWL = Quadratic.of([0.5, 2.0], target=3.0, noise=0.1, name=NAME)
TRIPLE = Quadratic.of([0.1, 1.0, 3.0], target=3.0, noise=0.1, name="triple")
RATES = (1e-2, 0.3, 1e37)  # the last throws every parameter beyond float32's range of squares
ADAM = tuple(f"adam@{rate}" for rate in RATES)


class Heard(Observer):
    """Remembers what it hears."""

    def __init__(self):
        self.lines, self.fractions, self.counts, self.compiled = [], [], None, []

    def declared(self, trainings, found):
        self.counts = (trainings, found)

    def compiling(self, device, task, optimizer):
        self.compiled.append((task, optimizer))

    def advanced(self, device, task, optimizer, fraction):
        self.fractions.append(fraction)

    def finished(self, rows, how):
        self.lines += [(row.optimizer, how) for row in rows]

    def log(self, line):
        self.lines.append(line)


def request(folder, **changes):
    """Adam at one rate on the bowl, two seeds of seven steps."""
    fields = {"tasks": (NAME,), "optimizers": ("adam@0.3",), "steps": 7, "seeds": 2}
    fields |= {"eval_every": 3, "eval_batches": 2}
    return Request(Path(folder), **(fields | changes))


def rows_of(asked):
    """The rows of a request after running it."""
    outcome = run(asked)
    assert (outcome.missing, outcome.failures) == ({}, ())
    return sorted(read(asked.folder), key=lambda row: (row.optimizer, row.seed))


def sgd_of_mine(learning_rate):
    """A user's optimizer that is tuned."""
    return optax.sgd(learning_rate)


def decaying(num_steps):
    """A user's optimizer with one setting."""
    return optax.sgd(optax.linear_schedule(0.1, 0.0, num_steps))


def needy(learning_rate, momentum):
    """A function that cannot be called."""
    return optax.sgd(learning_rate, momentum)


def nothing():
    """A function that makes no optimizer."""
    return 3


def broken():
    """An optimizer that fails while its program is traced."""

    def fail(updates, state, params=None):
        raise ArithmeticError("no more")

    return optax.GradientTransformation(optax.sgd(1.0).init, fail)


def lost():
    """A task without data."""
    raise DatasetNotFoundError("no texts")
