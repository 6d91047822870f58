"""One folder, one task name, two sets of data: what the runner writes down keeps them from being compared."""

from celo.evaluation.contestants import Contestant
from celo.evaluation.coverage import coverage
from celo.evaluation.plan import Evaluation
from celo.evaluation.rules import HandDesigned
from celo.evaluation.runner import run
from celo.evaluation.settings import Settings, code_digest, task_digest
from celo.evaluation.store import Store
from celo.meta.tasks import Quadratic

SETTINGS = Settings(steps=2, seeds=1, eval_every=2, eval_batches=1)


def trained(folder, target, *optimizers):
    task = Quadratic.of([0.5, 2.0], target=target, name="bowl")
    contestants = [Contestant(name, HandDesigned(name), ({"learning_rate": 0.1},)) for name in optimizers]
    assert not run(Evaluation(contestants, {"bowl": lambda: task}, SETTINGS, folder)).missing
    return task


def test_optimizers_on_other_data_under_the_same_name_are_not_compared(tmp_path):
    task = trained(tmp_path, 3.0, "adam", "sgd")
    cells = Store(tmp_path).results()
    assert {cell.task_digest for cell in cells} == {task_digest(task)}
    assert {cell.code_digest for cell in cells} == {code_digest(task)}
    assert coverage(cells).complete == ("bowl",)
    trained(tmp_path, 4.0, "rmsprop")
    found = coverage(Store(tmp_path).results())
    assert found.complete == ()
    assert found.mixed == (("bowl", "adam, sgd than for rmsprop"),)
