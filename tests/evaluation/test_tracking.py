"""The run of wandb that an evaluation is logged as, against a stand-in that remembers."""

import sys
from unittest import mock

import pytest

from celo.evaluation.scores import score_table
from celo.evaluation.tracking import track
from tests.evaluation.rows import rows


def test_an_evaluation_is_one_run_with_a_table_curves_and_scores(tmp_path, monkeypatch):
    wandb = mock.MagicMock()
    wandb.Table = lambda columns, data: (columns, data)
    run = wandb.init.return_value
    run.summary = {}
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    own = [*rows([[1, 1], [0.5, 0.5], [2, 2]]), *rows([0.25, 0.5], optimizer="celo")]
    track(tmp_path / "mine", score_table(own), own, "project", "offline")
    given, logged = wandb.init.call_args.kwargs, [call.args[0] for call in run.log.call_args_list]
    assert (given["name"], given["mode"], given["job_type"]) == ("mine", "offline", "evaluation")
    assert given["config"]["steps"] == 40
    run.define_metric.assert_called_with("*", step_metric="step")
    columns, data = logged[0]["trainings"]
    assert (len(data), len(data[0])) == (8, len(columns))
    curve = [values["task/celo/train_loss"] for values in logged if "task/celo/train_loss" in values]
    assert len(curve) == 3
    assert [values["step"] for values in logged[-3:]] == [0, 20, 40]
    assert run.summary["score/final_loss/celo"] == pytest.approx((2 + 1) / 2)
    run.__exit__.assert_called_once()


def test_without_wandb_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    own = rows([1.0])
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'celo\[train\]'"):
        track(tmp_path, score_table(own), own)
