"""The command line of meta-training: presets, overrides, exit codes, and one clear message for bad input."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

from celo.meta.presets import PRESETS, preset
from celo.meta.runs.config_file import read_config
from celo.meta.runs.metrics import read_metrics
from celo.meta.trainer import Result, Settings
from celo.scripts import meta_train
from celo.scripts.devices import Devices
from tests.meta.trainer_child import ROOT, command, environment, options, theta_bytes


@pytest.fixture
def called(monkeypatch):
    """Instead of training, record the arguments; `finished` is what training returns."""
    seen = {"finished": True}

    def train(recipe, run_dir, settings):
        seen.update(recipe=recipe, run_dir=run_dir, settings=settings)
        result = Result(None, None, Path(run_dir), seen["finished"])  # type: ignore[arg-type]  # not used
        return result._replace(best=(1250, 0.41239))

    monkeypatch.setattr(meta_train, "meta_train", train)
    monkeypatch.setattr(meta_train, "set_up", lambda devices: seen.update(devices=devices))
    return seen


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone(called, name, capsys):
    assert meta_train.main(["--preset", name]) == 0
    assert called["recipe"] == preset(name)
    assert called["run_dir"] == Path("runs") / name
    assert called["settings"] == Settings()
    assert called["devices"] == Devices()
    theta = f"runs/{name}/theta.safetensors"
    assert re.sub(r"\d+ s\n", "0 s\n", capsys.readouterr().out) == (
        f"theta: {theta}\n"
        f"best:  runs/{name}/theta_best.safetensors (validation 0.4124 after 1250 iterations)\n"
        "time:  0 s\n"
        f"next:  celo evaluate --suite quick --optimizers adam {theta} --out results\n"
    )


@pytest.mark.parametrize("option", ["--preset", "--optimizer"])
def test_an_option_that_is_read_first_without_its_value(called, option, refused):
    """The usage is that of the command, not of the parser that reads two of its options."""
    text = refused(meta_train.main, [option])
    assert text.startswith(f"usage: celo meta-train [OPTIONS] celo meta-train: error: argument {option}:")


def test_overrides_take_effect(called):
    """Of each stage, of the recipe, of how it is carried out, and of where; the rest is the preset's."""
    line = (
        "--preset cpu --run-dir mine --stage1.iterations 5 --stage2.learning-rate 0.5 "
        "--stage1.horizon constant --stage2.estimator truncated_es "
        "--tasks ImageMLP_Digits8_Relu32_bs64 ImageMLP_Digits8_Tanh32_bs64 "
        "--stage2.tasks ImageMLP_Digits8_Relu16_bs64 --options form=linear --seed 3 --stages 3 --init there "
        "--stage3.trains both --stage3.iterations 7 "
        "--tracker wandb --tracker-mode offline --data-dir data --keep 2 --no-progress "
        "--host-devices 3 --coordinator 127.0.0.1:1234 --num-processes 2 --process-id 1"
    )
    assert meta_train.main(list(line.split())) == 0
    cpu = preset("cpu")
    first, second = cpu.stages
    stages = (
        dataclasses.replace(first, iterations=5, horizon="constant"),
        dataclasses.replace(
            second,
            learning_rate=0.5,
            estimator="truncated_es",
            tasks=("ImageMLP_Digits8_Relu16_bs64",),
        ),
        dataclasses.replace(second, trains="both", iterations=7),
    )
    assert called["recipe"] == dataclasses.replace(
        cpu,
        stages=stages,
        tasks=("ImageMLP_Digits8_Relu32_bs64", "ImageMLP_Digits8_Tanh32_bs64"),
        options=("form=linear",),
        seed=3,
        init="there",
    )
    assert called["run_dir"] == Path("mine")
    assert called["settings"] == Settings("data", "wandb", "offline", keep=2, progress=False)
    assert called["devices"] == Devices(3, "127.0.0.1:1234", 2, 1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_number_of_stages(called, count):
    """From the first; those beyond the preset's repeat its last one."""
    assert meta_train.main(["--stages", str(count)]) == 0
    first, second = preset("quick").stages
    assert called["recipe"].stages == (first, second, second, second)[:count]


def test_the_optimizer_decides_the_defaults(called):
    assert meta_train.main([]) == 0
    assert called["recipe"] == preset("quick")
    assert meta_train.main(["--optimizer", "nn_adam", "--stage2.sigma", "0.5"]) == 0
    first, second = preset("quick", "nn_adam").stages
    assert called["recipe"].stages == (first, dataclasses.replace(second, sigma=0.5))
    assert meta_train.main(["--optimizer=velo_s", "--options", "ff_mult=1.0"]) == 0
    assert called["recipe"].options == ("ff_mult=1.0",)


def test_a_stopped_run_is_said(called, capsys):
    called["finished"] = False
    assert meta_train.main(["--run-dir", "mine"]) == 0
    text = "stopped by a signal; a checkpoint is in mine, the same command resumes from it\n"
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--preset qick", "error: Unknown preset 'qick'. Did you mean 'quick'? Known: cpu, paper, quick."),
        ("--preset=papre", "error: Unknown preset 'papre'. Did you mean 'paper'?"),
        ("--optimizer cello", "Unknown optimizer 'cello'. Did you mean 'celo'"),
        ("--options from=linear", "celo has no option 'from'. Did you mean 'form'"),
        ("--tasks ImageMLP_Digit8_Relu32_bs64", "Did you mean 'ImageMLP_Digits8_Relu32_bs64'"),
        ("--stage1.estimator pess", "invalid choice 'pess'"),
        ("--stage2.horizon constnt", "invalid choice 'constnt'"),
        ("--stage1.trains all", "invalid choice 'all'"),
        ("--tracker wandbb", "invalid choice 'wandbb'"),
        ("--tracker-mode of", "invalid choice 'of'"),
        ("--stage1.iterations 0", "iterations is 0; expected a whole number from 1 to 1000000000"),
        ("--stage2.iterations 1e3", "1e3"),
        ("--stage2.iterations 2.5", "2.5"),
        (f"--stage1.iterations {10**30}", "iterations is a whole number of 100 bits; expected"),
        ("--stage1.truncation 1000000000", "truncation is 1000000000; expected a whole number"),
        (f"--keep {10**40}", "keep is a whole number of 133 bits"),
        ("--stage2.sigma 0", "sigma is 0.0; expected a number above 0"),
        ("--stage2.sigma inf", "sigma is inf; expected a number above 0"),
        ("--stage1.clip-norm nan", "clip_norm is nan; expected a number of at least 0"),
        ("--stage1.learning-rate -0.1", "learning_rate is -0.1; expected a number above 0"),
        ("--stage1.horizon-low 900", "horizon range is [900, 500]; expected 1 <= low <= high"),
        ("--seed -1", "seed is -1; expected 0 to 4,294,967,295"),
        ("--stages 0", "stages is 0; expected a whole number from 1 to 99"),
        ("--stages 1000000000", "stages is 1000000000; expected a whole number from 1 to 99"),
        ("--stages 1e3", "invalid int value: '1e3'"),
        ("--stages 1 --stage2.sigma 0.1", "Unrecognized options: --stage2.sigma"),
        ("--stage1.iterations many", "invalid literal for int() with base 10: 'many'"),
        ("--stage1.lerning-rate 1", "Unrecognized options: --stage1.lerning-rate"),
        ("--run-dir=", "an argument is empty: --run-dir="),
        ("--project=", "an argument is empty: --project="),
        ("--stage1.tasks=", "an argument is empty: --stage1.tasks="),
        ("--host-devices -1", "host_devices is -1; expected a whole number from 0 to"),
        ("--num-processes 2", "num_processes is 2; several processes need a coordinator"),
    ],
)
def test_bad_command_lines(called, refused, line, message):
    assert message in refused(meta_train.main, line.split())
    assert "recipe" not in called


def test_errors_of_training_are_one_line(called, refused, monkeypatch):
    def train(*arguments):
        raise FileNotFoundError("no file theta.safetensors")

    monkeypatch.setattr(meta_train, "meta_train", train)
    assert refused(meta_train.main, []) == "error: no file theta.safetensors"
    monkeypatch.setenv("CELO_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        meta_train.main([])


def test_help_shows_every_field_with_its_default(capsys):
    """The preset's defaults, not the classes'."""
    with pytest.raises(SystemExit) as raised:
        meta_train.main(["--preset", "cpu", "--help"])
    assert raised.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    options = ("--stage1.iterations INT", "--stage2.sigma FLOAT", "--run-dir", "--coordinator")
    assert all(part in text for part in (*options, "--tracker-mode"))
    assert f"meta-iterations. (default: {preset('cpu').stages[0].iterations})" in text
    assert "--stage1.estimator {pes,es_single,truncated_es,full_es}" in text


@pytest.fixture
def real(monkeypatch):
    """Meta-training for real, but on the devices of this process and never as far as compiling."""
    monkeypatch.setattr(meta_train, "set_up", lambda devices: None)
    monkeypatch.setattr("celo.meta.trainer.StageProgram", lambda *args: pytest.fail("a stage was built"))


@pytest.mark.parametrize(
    ("run_dir", "message"),
    [
        ("file", "file is a file; expected a folder"),
        ("file/below", "cannot be created: "),
        ("/".join(["deep"] * 300), "a path is too deep"),
        ("long" * 100, "an argument is too long"),
        ("full", "is not a run: it has no config.json, but holds thesis.tex"),
        ("nested", "config.json is not readable: its JSON is nested too deep"),
    ],
)
@pytest.mark.usefixtures("real")
def test_run_folders_that_cannot_be(tmp_path, refused, run_dir, message):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "config.json").write_text("[" * 100_000)
    before = sorted(tmp_path.rglob("*"))
    line = ["--run-dir", tmp_path / run_dir, "--tasks", "ImageMLP_Digits8_Relu16_bs64", "--no-progress"]
    assert message in refused(meta_train.main, line)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


def test_a_refused_command_leaves_no_folder(tmp_path):
    """As a user sees it: exit code 2, one line, and the corrected command finds nothing in its way."""
    run_dir = tmp_path / "run"
    argv = ["--run-dir", str(run_dir), "--init", str(tmp_path / "none.safetensors"), "--no-progress"]
    done = subprocess.run(
        command(argv), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"error: no file {tmp_path / 'none.safetensors'}.\n"
    assert done.stdout == ""
    assert not run_dir.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "variable"), [("offline", "online"), ("disabled", "online"), (None, "offline")]
)
def test_wandb_keeps_its_id_over_a_resumption(tmp_path, mode, variable):
    """Stopped after its first stage, gone on with: one id, two folders of wandb's own when offline.

    The variable that users of wandb know decides where no mode is given.
    """
    pytest.importorskip("wandb")
    run_dir = tmp_path / "run"
    env = {name: value for name, value in environment().items() if not name.startswith("WANDB")}
    env |= {f"WANDB_{name}_DIR": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}
    env |= {"WANDB_SILENT": "true", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": variable}
    argv = options(run_dir, tracker="wandb", **({"tracker_mode": mode} if mode else {}))
    ids = []
    for program, code in ((("die", "save", "after", "3"), -9), ((), 0)):
        done = subprocess.run(
            command(argv, *program), cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        ids.append(json.loads((run_dir / "wandb.json").read_bytes())["id"])
    assert ids[0] == ids[1]
    folders = sorted(path.name for path in run_dir.glob("wandb/offline-run-*"))
    assert len(folders) == (2 if (mode or variable) == "offline" else 0)
    assert all(name.endswith(ids[0]) for name in folders)
    assert [row["step"] for row in read_metrics(run_dir / "metrics.jsonl")] == [2, 4, 6, 8, 10, 12, 14]
    assert theta_bytes(run_dir)
    assert read_config(run_dir)["config"]["optimizer"] == "learnable_adam"
