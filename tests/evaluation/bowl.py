"""A small evaluation, of Adam on a quadratic bowl, for tests of what does it."""

from celo.evaluation.contestants import Contestant
from celo.evaluation.plan import Evaluation
from celo.evaluation.resources import Resources
from celo.evaluation.rules import HandDesigned
from celo.evaluation.runner import Observer, run
from celo.evaluation.settings import Settings
from celo.meta.tasks import Quadratic

BOWL = Quadratic.of([0.5, 2.0], target=3.0, noise=0.1, name="bowl")
RATES = (1e-2, 0.3, 1e37)  # the last throws every parameter beyond float32's range of squares
ADAM = Contestant("adam", HandDesigned("adam"), tuple({"learning_rate": rate} for rate in RATES))
SETTINGS = Settings(steps=7, seeds=2, eval_every=3, eval_batches=2)


class Told(Observer):
    """Remembers what it hears."""

    def __init__(self):
        self.lines, self.parts = [], []

    def advanced(self, device, name, fraction):
        self.parts.append(fraction)

    def finished(self, cell, how):
        self.lines.append((cell.optimizer, how))

    def log(self, line):
        self.lines.append(line)


def evaluation(folder, contestants=(ADAM,), tasks=(BOWL,), settings=SETTINGS, baselines=None):
    loads = {task.name: lambda task=task: task for task in tasks}
    return Evaluation(contestants, loads, settings, folder, baselines)


def only_cell(asked, **resources):
    outcome = run(asked, Resources(**resources))
    assert outcome.missing == ()
    (cell,) = asked.results()
    return cell
