"""`celo evaluate`: what it does, prints and refuses, and what a signal leaves."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import jax
import pytest
import tyro

import celo
from celo.evaluation import requested, results, sharing
from celo.learned.celo import Celo
from celo.scripts import evaluate
from celo.scripts.evaluate import Evaluate, main
from tests.conftest import ROOT
from tests.scripts.made import TASK

pytestmark = pytest.mark.usefixtures("bowl")

SMALL = ["--steps", "4", "--seeds", "1", "--eval-batches", "1"]


def arguments(folder, *more, optimizers=("sgd@0.1",)):
    place = ["--out", str(folder / "out"), "--baselines", str(folder / "baselines")]
    return ["--tasks", TASK, "--optimizers", *optimizers, *SMALL, *place, *more]


def missing(folder):
    asked = requested.read_requested(folder / "out")
    return [label for _, label in asked.missing(results.read(folder / "out"))]


def test_it_trains_once_and_says_so(tmp_path, capsys):
    assert main(arguments(tmp_path)) == 0
    out = capsys.readouterr().out
    assert f"sgd@0.1 on {TASK}: 1 trainings of 4 steps" in out
    assert "Scores are relative to adam, which this folder lacks" in out
    assert main(arguments(tmp_path)) == 0
    assert f"sgd@0.1 on {TASK}: already done" in capsys.readouterr().out
    (row,) = results.read(tmp_path / "out")
    assert (row.optimizer, row.steps) == ("sgd@0.1", 4)


def test_a_folder_of_other_settings_or_of_another_theta_is_refused(tmp_path, capsys):
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for number, path in enumerate(paths):
        celo.save(path, "celo", {"stage": 1}, Celo(stage=1).init(jax.random.key(number)))
    # A printed command records the request as a training one does.
    assert main(arguments(tmp_path, "--print-commands", optimizers=(f"mine:{paths[0]}",))) == 0
    for more, message in (
        ((), f"the label mine means another optimizer in {tmp_path / 'out'}: mine:{paths[0]} "),
        (("--steps", "5"), "holds results of other settings"),
        (("--seed", "1"), "holds results of other settings"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments(tmp_path, *more, optimizers=(f"mine:{paths[1]}",)))
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_printed_commands_train_one_pair_each(tmp_path, capsys, monkeypatch):
    """In a folder whose name a shell would take apart, and with a package of the same name in it."""
    monkeypatch.undo()
    folder = tmp_path / "it's a; folder"
    folder.mkdir()
    assert main(arguments(folder, "--print-commands", optimizers=("sgd@0.1", "mine:celo"))) == 0
    commands = capsys.readouterr().out.splitlines()
    assert missing(folder) == ["sgd@0.1", "mine"]
    assert len(commands) == 2
    (folder / "celo").mkdir()
    (folder / "celo" / "__init__.py").write_text("raise SystemExit('of another project')")
    subprocess.run(["sh", "-c", commands[0]], cwd=folder, check=True, stdout=subprocess.PIPE)
    assert missing(folder) == ["mine"]


@pytest.mark.parametrize("name", ["two\nlines", "it's $(a) `b`; *"])
def test_a_printed_command_is_one_line_whatever_it_quotes(tmp_path, capsys, monkeypatch, name):
    """Folder of data from the environment, which no check of arguments sees."""
    (tmp_path / name).mkdir()
    monkeypatch.setenv("CELO_DATA", str(tmp_path / name))
    asked = arguments(tmp_path, "--print-commands")
    if "\n" in name:
        with pytest.raises(SystemExit):
            main(asked)
        out, err = capsys.readouterr()
        assert out == ""
        assert "line break" in err
        return
    assert main(asked) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert str(tmp_path / name) in shlex.split(line)


def test_a_command_repeats_everything_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = Evaluate(
        optimizers=("mine:a.safetensors", "adam"),
        tasks=(TASK, "another"),
        out=Path("out"),
        steps=7,
        grid="published",
        share_baselines=False,
        data_dir=Path("a b"),
        baselines=Path("base"),
        reuse=(Path("old"),),
        lm_corpus="wikitext2",
        lm_tokenizer="tokenizer.json",
        skip_missing_data=True,
    )
    words = shlex.split(command.command_for(TASK, "mine:a.safetensors"))
    assert words[:7] == ["cd", str(tmp_path), "&&", sys.executable, "-P", "-m", "celo.scripts.evaluate"]
    alone = dataclasses.replace(command, optimizers=("mine:a.safetensors",), tasks=(TASK,))
    assert tyro.cli(Evaluate, args=words[7:]) == alone


def test_names_of_earlier_versions_still_work():
    words = "--optimizers adam --trainings-at-once 3 --cpus-per-cell 2 --tracker-mode offline"
    found = tyro.cli(Evaluate, args=[*words.split(), "--project", "p", "--group", "g"])
    assert (found.batch, found.cpus_per_job, found.wandb_mode) == (3, 2, "offline")
    assert (found.wandb_project, found.wandb_group) == ("p", "g")


def test_choices_are_those_of_the_packages():
    from celo.ablations.grid import TABLES
    from celo.evaluation.grids import GRIDS
    from celo.evaluation.suites import suites
    from celo.meta.presets import PRESETS
    from celo.scripts.ablate import Ablate
    from celo.scripts.demo import Demo

    assert typing.get_args(typing.get_type_hints(Evaluate)["grid"]) == tuple(GRIDS)
    shown: Any = evaluate.SUITES
    assert shown.metavar == f"{{{','.join(suites())}}}|TASK,TASK,..."
    for command in (Ablate, Demo):
        assert typing.get_args(typing.get_type_hints(command)["preset"]) == tuple(PRESETS)
    assert set(typing.get_args(typing.get_args(typing.get_type_hints(Ablate)["tables"])[0])) == set(TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_the_same_command_resumes(tmp_path, number):
    more = ["--steps", "100000", "--eval-every", "1000", "--host-devices", "2"]
    command = [sys.executable, "-m", "celo.scripts.evaluate", *arguments(tmp_path), *more]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out" / sharing.LOCKS).glob("*")):
        assert process.poll() is None, process.communicate()
        os.sched_yield()
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number, out + err
    assert "Left to do (1 trainings):" in out
    assert "the same command resumes" in out
    assert requested.read_requested(tmp_path / "out").settings["steps"] == 100000
