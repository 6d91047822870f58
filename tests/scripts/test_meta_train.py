"""The command line of meta-training: presets, overrides, exit codes, and one clear message for bad input."""

import dataclasses
import re
from pathlib import Path

import pytest

from celo.meta.presets import PRESETS, preset
from celo.meta.trainer import Result, Settings
from celo.scripts import meta_train
from celo.scripts.devices import Devices


@pytest.fixture
def called(monkeypatch):
    """Instead of training, record the arguments; `finished` is what training returns."""
    seen = {"finished": True}

    def train(recipe, run_dir, settings, cluster):
        assert cluster is None
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


@pytest.mark.parametrize("name", PRESETS)
def test_the_options_of_a_recipe_are_read_back(name):
    stages = ({"tasks": ("ImageMLP_Digits8_Relu16_bs64",), "iterations": 7}, {"normalize": name == "cpu"})
    recipe = preset(name, "velo_s").change_stages(*stages)
    recipe = dataclasses.replace(recipe, stages=(*recipe.stages, recipe.stages[0]), seed=5, init="there")
    recipe = dataclasses.replace(recipe, options=(), validation_tasks=())
    settings = Settings("data of mine", progress=False, first_stage="runs/rule")
    command = meta_train.MetaTrain(settings, Devices(2), name, "runs/mine")
    assert meta_train.parse(meta_train.arguments(recipe, command)) == (recipe, command)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("optimizer", ["celo", "nn_adam"])
def test_the_number_of_stages_of_an_optimizer(called, count, optimizer):
    """From the first of its preset; those beyond repeat the last one."""
    called["finished"] = count == 1
    assert meta_train.main(["--stages", str(count), f"--optimizer={optimizer}"]) == 0
    first, second = preset("quick", optimizer).stages
    assert called["recipe"].stages == (first, second, second, second)[:count]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--preset qick",
            "error: Unknown preset 'qick'. Did you mean 'quick'? Known: cpu, paper, quick, wide.",
        ),
        ("--optimizer cello", "Unknown optimizer 'cello'. Did you mean 'celo'"),
        ("--options from=linear", "celo has no option 'from'. Did you mean 'form'"),
        ("--tasks ImageMLP_Digit8_Relu32_bs64", "Did you mean 'ImageMLP_Digits8_Relu32_bs64'"),
        ("--stage1.estimator pess", "invalid choice 'pess'"),
        ("--stage1.iterations 0", "iterations is 0; expected a whole number from 1 to 1000000000"),
        ("--stage2.iterations 1e3", "1e3"),
        (f"--stage1.iterations {10**30}", "iterations is a whole number of 100 bits; expected"),
        ("--stage1.truncation 1000000000", "truncation is 1000000000; expected a whole number"),
        ("--stage2.sigma inf", "sigma is inf; expected a number above 0"),
        ("--stage1.clip-norm nan", "clip_norm is nan; expected a number of at least 0"),
        ("--stage1.learning-rate -0.1", "learning_rate is -0.1; expected a number above 0"),
        ("--stage1.horizon-low 900", "horizon range is [900, 500]; expected 1 <= low <= high"),
        ("--seed -1", "seed is -1; expected 0 to 4,294,967,295"),
        ("--stages 0", "stages is 0; expected a whole number from 1 to 99"),
        ("--stages 1e3", "invalid int value: '1e3'"),
        ("--stages 1 --stage2.sigma 0.1", "Unrecognized options: --stage2.sigma"),
        ("--stage1.lerning-rate 1", "Unrecognized options: --stage1.lerning-rate"),
        ("--run-dir=", "an argument is empty: --run-dir="),
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
