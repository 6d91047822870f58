"""The command line of evaluations: what it does, prints, refuses, and leaves when it is stopped."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import tyro

import celo
from celo.evaluation.store import CellName, Store
from celo.learned.celo import Celo
from celo.meta.runs.metrics import read_metrics
from celo.scripts.evaluate import Evaluate, main
from tests.conftest import ROOT

TASK = "ImageMLP_Digits8_Relu16_bs64"
SMALL = ["--steps", "4", "--seeds", "1", "--eval-batches", "1", "--host-devices", "2"]


def arguments(folder, *more, optimizers=("sgd@0.1",)):
    place = ["--out", str(folder / "out"), "--baselines", str(folder / "baselines")]
    return ["--tasks", TASK, "--optimizers", *optimizers, *SMALL, *place, *more]


def started(command, cwd=ROOT):
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    return out


def test_it_says_what_it_does_and_does_it_once(tmp_path, capsys):
    tracked = arguments(tmp_path, "--tracker", "jsonl")
    assert main(tracked) == 0
    out = capsys.readouterr().out
    assert f"sgd@0.1 on {TASK}: 1 trainings of 4 steps" in out
    assert "All cells are done" in out
    assert main(tracked) == 0
    assert f"sgd@0.1 on {TASK}: already done" in capsys.readouterr().out
    (cell,) = Store(tmp_path / "out").results()
    (metrics,) = (tmp_path / "out" / "runs").glob("*/metrics.jsonl")
    rows = read_metrics(metrics)
    assert [row["step"] for row in rows] == [0, 4]
    assert rows[-1]["final_loss"] == pytest.approx(cell.final_loss[0, 0])
    assert rows[0]["loss"] == pytest.approx(cell.loss[0, 0, 0])


def test_baselines_are_shared_unless_told_otherwise(tmp_path, capsys):
    main(arguments(tmp_path))
    main([*arguments(tmp_path), "--out", str(tmp_path / "other")])
    assert "taken from the baselines" in capsys.readouterr().out
    main([*arguments(tmp_path), "--out", str(tmp_path / "third"), "--no-share-baselines"])
    assert "taken from the baselines" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks", "ImageMLP_Digits8_Relu16_bs46"], "Did you mean 'ImageMLP_Digits8_Relu16_bs64'"),
        (["--suite", "quick"], "not both"),
        (["--optimizers", "adm"], "Unknown optimizer 'adm'. Did you mean 'adam'"),
        (["--optimizers", "adam", "adam"], "need different labels"),
        (["--optimizers", "mine:no/file"], "no file no/file"),
        (["--steps", "0"], "num_steps is 0"),
        (["--seeds", "0"], "seeds is 0"),
        (["--grid", "half"], "Unknown grid of learning rates 'half'"),
        (["--tracker", "wnadb"], "Unknown tracker 'wnadb'. Did you mean 'wandb'"),
        (["--memory-gib", "-1"], "memory_gib is -1"),
        (["--trainings-at-once", "-1"], "trainings_at_once is -1"),
        (["--lm-corpus", "lm2"], "Unknown corpus 'lm2'"),
        (["--lm-tokenizer", "no/tokenizer.json"], "there is no file"),
        (["--optimizers", "adam", "adam:celo"], "labelled 'adam', which is what a baseline is called"),
        (["--host-devices", "-1"], "host_devices is -1"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments(tmp_path), *more])
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_hub")
def test_missing_data_are_said_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        main(
            [
                *arguments(tmp_path),
                "--tasks",
                "ImageMLP_FashionMnist_Relu128x128",
                "--data-dir",
                str(tmp_path),
            ]
        )
    err = capsys.readouterr().err
    assert "fashion_mnist" in err
    assert str(tmp_path) in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_hub")
def test_tasks_without_data_are_left_out_if_wanted(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CELO_DATA", raising=False)
    lost = "ImageMLP_FashionMnist_Relu128x128"
    asked = [*arguments(tmp_path, "--skip-missing-data"), "--tasks", lost, TASK]
    assert main([*asked, "--print-commands"]) == 0
    printed, said = capsys.readouterr()
    (command,) = printed.splitlines()
    assert TASK in command
    assert lost in said
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert f"{lost}: Dataset 'fashion_mnist' was not found" in out
    told = f"Left out for want of data, and missing in the report unless finished before: {lost}\n"
    assert f"{told}All other cells are done" in out
    assert [name.task for name in Store(tmp_path / "out").missing()] == [lost]
    assert main(arguments(tmp_path)) == 0  # of an earlier command nothing is said
    assert "All cells are done" in (out := capsys.readouterr().out)
    assert "Left out" not in out
    store = Store(tmp_path / "out")
    store.declare(store.settings, [CellName(lost, "sgd@0.1", "0" * 64)])  # as while there were data
    assert main(asked) == 0
    assert f"{told}All other cells are done" in capsys.readouterr().out
    assert store.missing() == [CellName(lost, "sgd@0.1", "0" * 64)]


@pytest.mark.parametrize("variable", [False, True])
def test_a_mistyped_folder_of_data_is_not_taken_for_missing_data(tmp_path, capsys, monkeypatch, variable):
    nowhere = tmp_path / "nowhere"
    if variable:
        monkeypatch.setenv("CELO_DATA", str(nowhere))
    given = [] if variable else ["--data-dir", str(nowhere)]
    # The task that has its data at hand would be done, were the other one left out.
    names = ("--tasks", "ImageMLP_FashionMnist_Relu128x128", TASK)
    with pytest.raises(SystemExit) as exit_:
        main([*arguments(tmp_path, "--skip-missing-data"), *names, *given])
    assert exit_.value.code == 2
    where = "CELO_DATA" if variable else "data_dir"
    assert capsys.readouterr().err == f"error: The data folder {nowhere} (from {where}) does not exist\n"
    assert not (tmp_path / "out").exists()


def test_it_says_that_scores_need_adam(tmp_path, capsys):
    assert main(arguments(tmp_path)) == 0
    assert "Scores are with respect to adam, which is not among" in capsys.readouterr().out
    Store(tmp_path / "out").declare(Store(tmp_path / "out").settings, [CellName(TASK, "adam", "0" * 64)])
    assert main(arguments(tmp_path)) == 0
    assert "with respect to" not in capsys.readouterr().out


def test_another_checkpoint_under_the_label_is_refused(tmp_path, capsys):
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for number, path in enumerate(paths):
        celo.save(path, "celo", {"stage": 1}, Celo(stage=1).init(jax.random.key(number)))
    # No cell is done: a printed command declares as one that works does.
    assert main(arguments(tmp_path, "--print-commands", optimizers=(f"mine:{paths[0]}",))) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(arguments(tmp_path, optimizers=(f"mine:{paths[1]}",)))
    err = capsys.readouterr().err
    assert f"the label mine means another optimizer in {tmp_path / 'out'}: mine:{paths[0]} " in err


@pytest.mark.parametrize("change", [["--steps", "5"], ["--seed", "1"]])
def test_a_folder_of_other_settings_is_refused(tmp_path, capsys, change):
    main(arguments(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        main([*arguments(tmp_path), *change])
    assert exit_.value.code == 2
    assert "holds results of other settings" in capsys.readouterr().err


def test_printed_commands_do_the_cells_one_by_one(tmp_path, capsys):
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / "it's a; folder"
    folder.mkdir()
    asked = arguments(folder, "--print-commands", optimizers=("sgd@0.1", "mine:celo"))
    assert main(asked) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 2
    store = Store(folder / "out")
    assert [name.optimizer for name in store.missing()] == ["sgd@0.1", "mine"]
    (folder / "scripts").mkdir()
    (folder / "scripts" / "evaluate.py").write_text("raise SystemExit('of another project')")
    ended(started(["sh", "-c", commands[0]], cwd=folder))
    assert [name.optimizer for name in store.missing()] == ["mine"]
    assert shlex.split(commands[1])[:4] == [sys.executable, "-P", "-m", "celo.scripts.evaluate"]


def test_a_command_repeats_everything_that_was_asked_for(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.touch()
    command = Evaluate(
        optimizers=("adam", "sgd@0.1"),
        tasks=(TASK,),
        out=tmp_path,
        grid="published",
        tracker="jsonl",
        share_baselines=False,
        steps=7,
        memory_gib=0.5,
        data_dir=tmp_path / "a b",
        baselines=tmp_path / "base",
        lm_corpus="wikitext2",
        lm_tokenizer=str(tokenizer),
        skip_missing_data=True,
    )
    for printed, optimizer in zip(command.commands([TASK]), command.optimizers, strict=True):
        parsed = tyro.cli(Evaluate, args=shlex.split(printed)[4:])
        assert parsed == dataclasses.replace(command, optimizers=(optimizer,))


def test_a_command_means_the_same_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    command = Evaluate(
        optimizers=("mine:a.safetensors",),
        tasks=(TASK,),
        out=Path("out"),
        data_dir=Path("data"),
        baselines=Path("base"),
        lm_tokenizer="tokenizer.json",
    )
    (printed,) = command.commands([TASK])
    assert tyro.cli(Evaluate, args=shlex.split(printed)[4:]) == Evaluate(
        optimizers=(f"mine:{tmp_path}/a.safetensors",),
        tasks=(TASK,),
        out=tmp_path / "out",
        data_dir=tmp_path / "data",
        baselines=tmp_path / "base",
        lm_tokenizer=f"{tmp_path}/tokenizer.json",
    )
    monkeypatch.setenv("CELO_DATA", "of-the-variable")
    (printed,) = dataclasses.replace(command, data_dir=None, lm_tokenizer="google-t5/t5-small").commands(
        [TASK]
    )
    parsed = tyro.cli(Evaluate, args=shlex.split(printed)[4:])
    assert parsed.data_dir == tmp_path / "of-the-variable"
    assert parsed.lm_tokenizer == "google-t5/t5-small"


def test_the_tokenizer_reaches_the_tasks_that_read_sub_words(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tokenizer.json"
    file.write_text("no tokenizer")
    names = ("--tasks", "RNNLM_lm1b32k_Patch32_LSTM256_Embed128", "--lm-corpus", "pydoc")
    asked = [*arguments(tmp_path), *names, "--lm-tokenizer", str(file)]
    with pytest.raises(SystemExit):
        main(asked)
    assert f"{file} is not a tokenizer.json" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_finished_cells_stay(tmp_path, number):
    long = ["--steps", "100000", "--eval-every", "1000"]
    command = [sys.executable, "-m", "celo.scripts.evaluate", *arguments(tmp_path), *long]
    process = started(command)
    locks = tmp_path / "out" / "locks"
    while not list(locks.glob(f"{TASK}*")):
        assert process.poll() is None, process.communicate()
        os.sched_yield()
    process.send_signal(number)
    out = ended(process, 128 + number)
    assert "Left to do (1):" in out
    assert "the same command goes on" in out
    assert Store(tmp_path / "out").settings["steps"] == 100000
