"""Requests are checked before anything is loaded; keys change with whatever decides numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import pytest

from celo.evaluation.optimizers import parse
from celo.evaluation.sweep import Sweep, missing_data, numerics, sweep, task_digest
from celo.meta.data import DatasetNotFoundError
from celo.meta.tasks import Quadratic, make
from tests.evaluation.bowl import BOWL, NAME, request

TASK = "ImageMLP_Digits8_Relu16_bs64"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is 0; expected a whole number from 1 to 10,000,000"),
        ({"steps": 2.5}, TypeError, "steps is 2.5"),
        ({"steps": True}, TypeError, "steps is True"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"eval_every": 0}, ValueError, "eval_every is 0"),
        ({"eval_batches": "5"}, TypeError, "eval_batches is '5'"),
        ({"batch": -1}, ValueError, "batch is -1"),
        ({"grid": "halfpowers"}, ValueError, "Did you mean 'half_powers'"),
        ({"tasks": ()}, ValueError, "needs a task and an optimizer, got 0 and 1"),
        ({"tasks": ("ImageMLP_Digits8_Relu16_bs46",)}, ValueError, f"Did you mean '{TASK}'"),
        ({"tasks": ("a b:c",)}, ValueError, "module:object"),
        ({"lm_corpus": "lm1"}, ValueError, "Unknown corpus 'lm1'. Did you mean 'lm1b'"),
        ({"lm_tokenizer": "no.json"}, FileNotFoundError, "no file no.json"),
        ({"reuse": (Path("no/such"),)}, FileNotFoundError, "no/such holds no rows to reuse"),
        ({"data_dir": "/no/such"}, (ValueError, FileNotFoundError, NotADirectoryError), "/no/such"),
    ],
)
def test_bad_requests_are_refused(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        request(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_equal_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="need different labels, got Mine, mine"):
        sweep(request(tmp_path / "new", optimizers=("Mine=sgd@1", "mine=sgd@2")))
    assert not (tmp_path / "new").exists()


def key(tmp_path, digest="0", device="cpu", **changes):
    asked = request(tmp_path, **({"tasks": (TASK,)} | changes))
    made = Sweep(asked, {"x": parse(asked.optimizers[0])}, {TASK: digest}, {}, device)
    return made.trainings[0].key


DECIDING: list[dict[str, Any]] = [
    *({"optimizers": (text,)} for text in ("sgd@0.3", "adam@0.1", "celo")),
    *({"steps": 8}, {"seed": 1}, {"eval_every": 2}, {"eval_batches": 1}, {"digest": "1"}, {"device": "H100"}),
]
OTHER: list[dict[str, Any]] = [
    *({"optimizers": ("other=adam@0.3",)}, {"seeds": 9}, {"grid": "published"}, {"batch": 3}),
    {"skip_missing_data": True},
]


@pytest.mark.parametrize("changes", [*DECIDING, *OTHER])
def test_only_what_decides_the_numbers_changes_the_key(tmp_path, changes):
    assert (key(tmp_path, **changes) != key(tmp_path)) == (changes in DECIDING)


def test_numerical_settings_and_protocol_change_the_key(tmp_path, monkeypatch):
    before = key(tmp_path)
    assert numerics() == ""
    with jax.default_matmul_precision("float32"):
        assert numerics() == "jax_default_matmul_precision=float32"
        assert key(tmp_path) != before
    monkeypatch.setattr("celo.evaluation.sweep.PROTOCOL", 2)
    assert key(tmp_path) != before


def test_a_grid_shares_its_trainings_with_one_of_its_rates(tmp_path):
    one = request(tmp_path, tasks=(TASK,), optimizers=("adam@1e-3",))
    grid = dataclasses.replace(one, optimizers=("adam",))
    keys = [
        {wanted.key for wanted in Sweep(r, {"x": parse(r.optimizers[0])}, {TASK: "0"}, {}, "cpu").trainings}
        for r in (one, grid)
    ]
    assert (len(keys[0]), len(keys[1])) == (2, 28)
    assert keys[0] < keys[1]


def test_the_digest_of_a_task_is_of_its_configuration_and_data():
    same = Quadratic.of([0.5, 2.0], target=3.0, noise=0.1, name=NAME)
    assert task_digest(same) == task_digest(BOWL)
    for other in (
        Quadratic.of([0.5, 2.0], target=4.0, noise=0.1, name=NAME),
        Quadratic.of([0.5, 2.0], target=3.0, noise=0.2, name=NAME),
    ):
        assert task_digest(other) != task_digest(BOWL)
    task: Any = make(TASK)
    images = task.data.splits["test"].arrays["image"]
    task.data.splits["test"].arrays["image"] = images.at[0, 0].add(1)
    assert task_digest(task) != task_digest(make(TASK))


def test_all_missing_data_are_named_at_once_and_nothing_is_created(tmp_path):
    lost = "tests.evaluation.bowl:lost"
    with pytest.raises(
        DatasetNotFoundError, match=r"Missing data for 1 requested.*\n  .*lost: no texts\n.*skip"
    ):
        sweep(request(tmp_path / "new", tasks=(NAME, lost)))
    asked = sweep(request(tmp_path / "new", tasks=(NAME, lost), skip_missing_data=True))
    assert asked.left_out == {lost: "no texts"}
    assert {wanted.task for wanted in asked.trainings} == {NAME}
    assert [(pair.task, bool(pair.task_digest)) for pair in asked.requested.pairs] == [
        (NAME, True),
        (lost, False),
    ]
    with pytest.raises(DatasetNotFoundError, match="Missing data for 1") as error:
        sweep(request(tmp_path / "new", tasks=(lost,), skip_missing_data=True))
    assert "skip_missing_data" not in str(error.value)
    assert not (tmp_path / "new").exists()
    assert "a, b: none\n  c: no" in missing_data({"a": "none", "c": "no", "b": "none"})
