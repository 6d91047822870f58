"""The run of wandb that an evaluation is logged as, against a stand-in that remembers."""

import sys
import types

import pytest

from celo.evaluation.scores import score_table
from celo.evaluation.tracking import track
from tests.evaluation.rows import rows


class Run:
    """Remembers what is logged."""

    def __init__(self):
        self.metrics, self.logged, self.summary, self.finished = [], [], {}, False

    def define_metric(self, name, **given):
        self.metrics.append((name, given))

    def log(self, values):
        self.logged.append(values)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.finished = True


def test_an_evaluation_is_one_run_with_a_table_curves_and_scores(tmp_path, monkeypatch):
    run, given = Run(), {}
    wandb = types.SimpleNamespace(
        init=lambda **options: given.update(options) or run,
        Settings=lambda **options: options,
        Table=lambda columns, data: (columns, data),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    own = [*rows([[1, 1], [0.5, 0.5], [2, 2]]), *rows([0.25, 0.5], optimizer="celo")]
    track(tmp_path / "mine", score_table(own), own, "project", "offline")
    assert (given["name"], given["mode"], given["job_type"]) == ("mine", "offline", "evaluation")
    assert given["config"]["steps"] == 40
    assert ("*", {"step_metric": "step"}) in run.metrics
    columns, data = run.logged[0]["trainings"]
    assert (len(data), len(data[0])) == (8, len(columns))
    curve = [values["task/celo/train_loss"] for values in run.logged if "task/celo/train_loss" in values]
    assert len(curve) == 3
    assert [values["step"] for values in run.logged[-3:]] == [0, 20, 40]
    assert run.summary["score/final_loss/celo"] == pytest.approx((2 + 1) / 2)
    assert run.finished


def test_without_wandb_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    own = rows([1.0])
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'celo\[train\]'"):
        track(tmp_path, score_table(own), own)
