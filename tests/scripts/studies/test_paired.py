"""Paired comparisons of recipes: variants as options, differences by hand, and one for real."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from celo.meta.presets import preset
from celo.meta.selection import Selected
from celo.meta.tasks import META_VALIDATION
from celo.meta.trials import Trial, share_first_stages
from celo.scripts.studies import paired

AVERAGE = "average: --stage2.average 0.1"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paired, "set_up", lambda devices: None)


def test_a_variant_is_the_recipe_with_its_options():
    line = ["--preset", "cpu", "--stage1.iterations", "7", "--tasks", "ImageMLP_Mnist8_Relu32_bs64"]
    variants = [AVERAGE, "two: --tasks ImageMLP_Mnist8_Relu32_bs64 ImageMLP_FashionMnist8_Relu32_bs64"]
    recipes, command = paired.parse([*line, "--variants", *variants, "adam: --optimizer celo_adam"])
    tasks = ("ImageMLP_Mnist8_Relu32_bs64", "ImageMLP_FashionMnist8_Relu32_bs64")
    base = preset("cpu").change_stages({"iterations": 7}, {})
    base = dataclasses.replace(base, tasks=tasks[:1], validation_tasks=META_VALIDATION)
    assert recipes == {
        "recipe": base,
        "average": base.change_stages({}, {"average": 0.1}),
        "two": dataclasses.replace(base, tasks=tasks),
        "adam": dataclasses.replace(base, optimizer="celo_adam"),
    }
    assert command.meta_seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "there is nothing to compare; give --variants 'NAME: OPTIONS'"),
        (["--variants", AVERAGE, "--meta-seeds", "0", "1"], "meta_seeds is (0, 1); expected at least 3"),
        (["--variants", AVERAGE, "--meta-seeds", "0", "1", "1"], "expected at least 3, all different"),
        (["--variants", "--stage2.average 0.1"], "Unrecognized options"),
        (["--variants", "average --stage2.average 0.1"], "expected 'NAME: OPTIONS' with a name of its own"),
        (["--variants", AVERAGE, AVERAGE], "expected 'NAME: OPTIONS' with a name of its own"),
        (["--variants", "../up: --stage2.average 0.1"], "with a name of its own"),
        (["--variants", "same: --stage2.average 0"], "expected options that change the recipe"),
        (["--variants", AVERAGE, "--first-stage", "runs/rule"], "first_stage is runs/rule, and there are"),
        (["--variants", "seed: --seed 3"], "expected options that change the recipe, and no others"),
        (["--variants", "keep: --stage1.average 0.1 --keep 2"], "and no others"),
        (["--variants", "bad: --stage2.sigma -1"], "sigma is -1.0; expected a number above 0"),
        (["--variants", "bad: --stage2.sigmund 1"], "Unrecognized options: --stage2.sigmund"),
        (
            ["--variants", f"{AVERAGE} --validation-tasks {META_VALIDATION[0]}"],
            "a variant changes validation_tasks; all are compared on the same ones",
        ),
        (
            ["--variants", AVERAGE, "--validation-tasks", "ImageMLP_FashionMnist_Relu128x128"],
            "in the suite cpu5, and so no task to choose by",
        ),
        (
            ["--variants", f"{AVERAGE} --tasks {META_VALIDATION[0]}"],
            f"{META_VALIDATION[0]}: meta-trained on, and so no task to choose by",
        ),
    ],
)
def test_bad_comparisons(refused, line, message, monkeypatch):
    monkeypatch.setattr(paired, "run_trials", lambda *args: pytest.fail("trained"))
    assert message in refused(paired.main, line)
    assert not list(Path().iterdir())


def test_first_stages_in_common_are_trained_once():
    base = preset("quick")
    later, sooner = base.change_stages({}, {"average": 0.1}), base.change_stages({"sigma": 0.02}, {})
    alone = base.first_stage()
    trials = [Trial("a", base), Trial("b", later), Trial("c", sooner), Trial("d", alone)]
    other = Trial("e", dataclasses.replace(base, seed=1))
    found = share_first_stages([*trials, other])
    assert [(one.label, one.first_stage) for one in found] == [
        *(("stage1_a", ""), ("a", "stage1_a"), ("b", "stage1_a"), ("c", ""), ("d", ""), ("e", "")),
    ]
    assert found[0].recipe == base.first_stage()
    init = base.change_stages({}, {"init": "celo"})
    assert [one.label for one in share_first_stages([Trial("a", init), Trial("b", init)])] == ["a", "b"]


def selected(**losses):
    """By name, the losses on two tasks for each seed."""
    return {
        (name, seed): Selected(Path(), sum(pair) / 2, dict(zip("xy", pair, strict=True)))
        for name, pairs in losses.items()
        for seed, pair in enumerate(pairs)
    }


def test_differences_by_hand():
    """Seeds differ by far more than the variant gains; paired, the gain is outside the noise."""
    found = selected(
        recipe=[(1.0, 2.0), (5.0, 2.0), (9.0, 2.0)],
        good=[(0.9, 2.0), (4.88, 2.0), (8.92, 2.0)],
        mixed=[(0.0, 2.0), (6.0, 2.0), (9.0, 2.0)],
        worse=[(2.0, 2.0), (6.0, 2.0)],
    )
    good, mixed, worse = paired.compare(["recipe", "good", "mixed", "worse"], [0, 1, 2], found)
    assert (good.name, good.seeds, good.verdict) == ("good", (0, 1, 2), "better")
    assert good.difference.mean == pytest.approx(-0.05)
    assert good.difference.high == pytest.approx(-0.05 + 4.3027 * 0.01 / 3**0.5, abs=1e-5)
    assert good.by_task["x"].mean == pytest.approx(-0.1)
    assert good.by_task["y"] == (0.0, 0.0, 0.0)
    assert mixed.verdict == "cannot be told"
    assert (worse.seeds, worse.verdict) == ((0, 1), "worse")
    shown = paired.table([good]).rows
    assert [row[:2] for row in shown] == [("good", "all"), ("good", "x"), ("good", "y")]
    assert shown[0][3:] == ("3.4500", "-0.0500 [-0.0748, -0.0252]", "better")
    assert paired.compare(["recipe", "good"], [0], selected(good=[(1.0, 1.0)])) == []


def kept(run):
    return json.loads(Path(run, "selection.json").read_text())["losses"]


@pytest.mark.slow
@pytest.mark.lenient(reason="optax promotes types: 0.9 ** count in its Adam")
def test_for_real_and_resumed(capsys):
    """The difference is that of what the run folders hold; the second time nothing is computed."""
    line = "--optimizer learnable_adam --stages 1 --stage1.iterations 2 --stage1.problems 2 --no-progress"
    line += " --stage1.truncation 3 --validate-every 0 --validation-steps 20 --validation-seeds 1"
    line += " --validation-tasks ImageMLP_Digits8_Relu64x64x64_bs64"
    command = [*line.split(), "--variants", "fast: --stage1.learning-rate 3.0"]
    assert paired.main(command) == 0
    first = json.loads(Path("paired/paired.json").read_text())
    (row,) = first["variants"]
    assert (row["variant"], row["seeds"]) == ("fast", [0, 1, 2])
    (task,) = row["by_task"]
    losses = {
        name: np.array([kept(f"paired/{name}.{seed}")[task] for seed in range(3)])
        for name in ("fast", "recipe")
    }
    change = losses["fast"] - losses["recipe"]
    assert np.abs(change).min() > 0
    assert row["difference"]["mean"] == pytest.approx(change.mean())
    runs = {f"{name}.{seed}" for name in ("recipe", "fast") for seed in range(3)}
    assert {path.name for path in Path("paired").iterdir()} == {"paired.json", *runs}
    capsys.readouterr()
    assert paired.main(command) == 0
    assert json.loads(Path("paired/paired.json").read_text()) == first
