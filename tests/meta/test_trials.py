"""Several meta-trainings in one folder, with meta-training replaced by its result."""

import dataclasses

import pytest

from celo.meta import trainer
from celo.meta.presets import preset
from celo.meta.trainer import Result, Settings
from celo.meta.trials import Trial, run_trials

RECIPE = preset("quick")


@pytest.mark.parametrize(
    ("states", "finished", "stopped"),
    [
        # Another process holds the second trial, which comes once more at the end.
        ({"a": ["done"], "b": ["busy", "done"]}, ["a", "b"], False),
        ({"a": ["busy", "done"], "b": ["done"]}, ["b", "a"], False),
        ({"a": ["done"], "b": ["busy", "busy"]}, ["a"], False),
        ({"a": ["stopped"], "b": []}, [], True),
        # A stop in the last moment of a trial counts.
        ({"a": ["done, stopped"], "b": []}, ["a"], True),
    ],
)
def test_trials_that_stop_or_run_elsewhere(tmp_path, monkeypatch, states, finished, stopped):
    def meta_train(recipe, run_dir, settings):
        state = states[run_dir.name].pop(0)
        if state == "busy":
            raise BlockingIOError("process 17 on host")
        learned = recipe.learned(recipe.stages[0])
        return Result(learned, None, run_dir, finished="done" in state, stopped="stopped" in state)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    found = run_trials([Trial("a", RECIPE), Trial("b", RECIPE)], tmp_path, say=lambda line: None)
    assert (list(found.finished), found.stopped) == (finished, stopped)
    assert not any(states.values())


def test_a_trial_waits_for_its_first_stage_and_takes_it(tmp_path, monkeypatch):
    """Where another process trains the first stage, the trial comes once more at the end."""
    busy, seen, said = iter([True, False]), [], []

    def meta_train(recipe, run_dir, settings):
        if run_dir.name == "first" and next(busy):
            raise BlockingIOError("process 17 on host")
        seen.append((run_dir.name, settings))
        return Result(recipe.learned(recipe.stages[0]), None, run_dir, finished=True)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    trials = [Trial("first", RECIPE.first_stage()), Trial("whole", RECIPE, "first", "Celo")]
    found = run_trials(trials, tmp_path, Settings(keep=7), said.append)
    assert list(found.finished) == ["first", "whole"]
    plain = Settings(keep=7)
    expected = dataclasses.replace(plain, first_stage=str(tmp_path / "first"))
    assert seen == [("first", plain), ("whole", expected)]
    assert said[0] == "first"
    assert said[2:4] == [
        "whole: Celo",
        "whole is left to another process (its first stage first is not finished)",
    ]
