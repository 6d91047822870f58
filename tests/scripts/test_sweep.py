"""The sweep as a program, with meta-training and validation replaced by their results, and once for real."""

import json
import shlex

import jax
import pytest

import celo
from celo import checkpoint
from celo.meta import selection, trainer
from celo.meta.presets import preset
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.sweep import RATES
from celo.meta.tasks import META_VALIDATION
from celo.meta.trainer import BEST_FILE, THETA_FILE, Result, Settings
from celo.scripts import meta_train, sweep

EMBEDDED = ("ImageMLP_Digits8_Relu64x64x64_bs64", "ImageMLP_Digits8_Tanh32_bs64")
GRID = ("--rates", "1e-4", "1e-3", "--meta-seeds", "0", "1", "--out", "swept")
LOSSES = {"rate0.0001.0": 1.0, "rate0.0001.1": 3.0, "rate0.001.0": 0.5, "rate0.001.1": 2.6, "rate0.01.0": 0.1}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "set_up", lambda devices: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made(here, monkeypatch):
    """Meta-training that draws a random theta, and `LOSSES` as its validation; the recipes by run folder."""
    recipes = {}

    def train(recipe, run_dir, settings):
        recipes[run_dir.name] = recipe
        run_dir.mkdir(parents=True, exist_ok=True)
        learned = recipe.learned(recipe.stages[-1])
        theta = learned.init(jax.random.key(recipe.seed))
        celo.save(run_dir / BEST_FILE, recipe.optimizer, {}, theta, {"run": run_dir.name})
        return Result(learned, theta, run_dir.absolute(), finished=True)

    def of_run(self, result):
        loss = LOSSES[result.path.name]
        return selection.Selected(result.path / BEST_FILE, loss, dict.fromkeys(self.tasks, loss))

    monkeypatch.setattr(trainer, "meta_train", train)
    monkeypatch.setattr(selection.Selection, "of_run", of_run)
    return recipes


def test_it_runs_every_rate_and_seed_and_chooses(made, here, capsys):
    assert sweep.main([*GRID, "--preset", "cpu", "--options", "form=linear"]) == 0
    assert list(made) == [f"rate{rate}.{seed}" for seed in (0, 1) for rate in ("0.0001", "0.001")]
    one = made["rate0.0001.1"]
    assert (one.seed, one.options, one.validation_tasks) == (1, ("form=linear",), META_VALIDATION)
    assert {stage.learning_rate for stage in one.stages} == {1e-4}
    header, _, low, high = capsys.readouterr().out.splitlines()[-6:-2]
    assert header.split() == ["rate", "seeds", "validation", "loss", "behind", "the", "chosen"]
    assert low.split()[:4] == ["0.0001", "2", "2.0000", "[-10.7062,"]
    assert low.split()[-3:] == ["+0.4500", "[-0.1853,", "+1.0853]"]
    assert high.split()[-1] == "chosen"
    found = json.loads((here / "swept" / "sweep.json").read_text())
    assert found["chosen"] == {"rate": 1e-3, "seed": 0, "theta": "rate0.001.0/theta_best.safetensors"}
    assert found["validation"]["tasks"] == list(META_VALIDATION)
    assert [(run["rate"], run["seed"], run["mean"]) for run in found["runs"]][:2] == [
        (1e-4, 0, 1.0),
        (1e-3, 0, 0.5),
    ]
    kept = checkpoint.read(here / "swept" / THETA_FILE)
    assert kept.header is not None
    assert kept.header["provenance"]["run"] == "rate0.001.0"


def test_the_same_folder_takes_more_rates_and_no_other_recipe(made, here, refused, capsys):
    plain = ["--meta-seeds", "0", "--out", "swept"]
    assert sweep.main([*plain, "--rates", "1e-3"]) == 0
    assert sweep.main([*plain, "--rates", "1e-3", "1e-2"]) == 0
    assert json.loads((here / "swept" / "sweep.json").read_text())["chosen"]["rate"] == 1e-2
    made.clear()
    capsys.readouterr()
    message = "swept holds a sweep of another recipe: stage1 differ"
    assert message in refused(sweep.main, [*plain, "--rates", "1e-2", "--stage1.sigma", "0.02"])
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").touch()
    assert "mine holds other files, such as thesis.tex" in refused(sweep.main, ["--out", "mine"])
    assert not made


@pytest.mark.parametrize("optimizer", ["celo", "nn_adam"])
def test_defaults(here, optimizer):
    recipe, command = sweep.parse(["--preset", "wide", "--optimizer", optimizer])
    assert command.out == "sweeps/wide"
    assert command.meta_seeds == (0, 1, 2)
    assert len(command.rates) == 5
    assert (command.rates == RATES) == (optimizer == "celo")
    assert recipe.validation_tasks == META_VALIDATION
    assert recipe.stages == preset("wide", optimizer).stages


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--seed 3", "Unrecognized options: --seed"),
        ("--stage2.learning-rate 0.5", "stage2.learning_rate is 0.5; give --rates instead"),
        ("--rates 0", "rates is 0.0; expected 1e-12 to 1,000.0"),
        ("--rates 1e-4 1e-4", "rates is (0.0001, 0.0001); expected one or more, all different"),
        ("--meta-seeds 1 1", "seeds is (1, 1); expected one or more, all different"),
        (
            "--validation-tasks ImageMLP_FashionMnist_Relu128x128",
            "ImageMLP_FashionMnist_Relu128x128: in the suite cpu5, and so no task to choose by",
        ),
        (
            "--validation-tasks ImageMLP_Digits8_Relu32_bs64",
            "ImageMLP_Digits8_Relu32_bs64: meta-trained on, and so no task to choose by",
        ),
        ("--first-stage runs/rule", "first_stage is runs/rule, and there are several runs; give --init"),
        ("--optimizer cello", "Unknown optimizer 'cello'. Did you mean 'celo'"),
    ],
)
def test_bad_command_lines(made, here, refused, line, message):
    assert message in refused(sweep.main, line.split())
    assert not made
    assert not list(here.iterdir())


def test_printed_commands_are_the_runs(made, here, capsys, monkeypatch):
    monkeypatch.setenv("CELO_DATA", "data of mine")
    line = ["--preset", "wide", "--stages", "3", "--stage1.no-normalize", "--options", "form=linear"]
    line += ["--stage3.trains", "both", "--stage2.tasks", EMBEDDED[0], "--keep", "2", "--host-devices", "1"]
    assert sweep.main([*GRID, *line, "--validation-tasks", EMBEDDED[1], "--print-commands"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert not made
    assert not (here / "swept").exists()
    assert sweep.main([*GRID, *line, "--validation-tasks", EMBEDDED[1]]) == 0
    assert len(commands) == len(made) == 4
    for command, (name, recipe) in zip(commands, made.items(), strict=True):
        words = shlex.split(command)
        assert words[:3] == ["cd", str(here), "&&"]
        assert words[4:7] == ["-P", "-m", "celo.scripts.meta_train"]
        found, other = meta_train.parse(words[7:])
        assert found == recipe
        assert other.run_dir == f"swept/{name}"
        assert other.settings == Settings(data_dir=str(here / "data of mine"), keep=2)
        assert other.devices.host_devices == 1


def test_a_stop_chooses_nothing(here, monkeypatch, capsys):
    def train(recipe, run_dir, settings):
        return Result(recipe.learned(recipe.stages[0]), None, run_dir, finished=False, stopped=True)

    monkeypatch.setattr(trainer, "meta_train", train)
    assert sweep.main(list(GRID)) == 1
    assert "the same command resumes" in capsys.readouterr().out
    assert not (here / "swept" / THETA_FILE).exists()


@pytest.mark.slow
@pytest.mark.lenient(reason="optax promotes types: 0.9 ** count in its Adam")
def test_for_real_and_resumed(here, capsys, monkeypatch):
    """A finished sweep is read, not computed, and what a run is worth is that of its own theta."""
    line = (
        "--optimizer learnable_adam --stages 1 --stage1.iterations 2 --stage1.problems 2 --validate-every 0"
    )
    line += " --stage1.truncation 3 --validation-steps 4 --validation-seeds 1 --no-progress"
    command = [*GRID, *line.split(), "--validation-tasks", *EMBEDDED]
    assert sweep.main(command) == 0
    first = json.loads((here / "swept" / "sweep.json").read_text())
    chosen = first["chosen"]
    assert len({run["mean"] for run in first["runs"]}) == 4
    assert set(first["runs"][0]["losses"]) == set(EMBEDDED)
    found, best = (celo.load(here / "swept" / file).theta for file in (THETA_FILE, chosen["theta"]))
    assert arrays_fingerprint(found) == arrays_fingerprint(best)
    monkeypatch.setattr(selection.Validation, "validate", lambda *args: pytest.fail("computed again"))
    assert sweep.main(command) == 0
    assert json.loads((here / "swept" / "sweep.json").read_text()) == first
