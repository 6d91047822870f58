"""Sweep outer learning rates and seeds of a recipe, and choose by meta-validation.

`celo sweep --preset wide --out sweeps/wide` meta-trains the preset's recipe at five outer learning rates with
three seeds each, as the Celo paper does. Every field of the recipe is an option, as in `celo meta-train`. The
rate is that of all stages; to sweep one stage alone, give `--stages 1`, `--stage1.trains` and `--init`.

Each run is a folder below the sweep's, and the same command resumes. The finished runs are compared by whole
trainings of fresh problems, on tasks that are neither meta-trained on nor in a suite of `celo evaluate`
(`--validation-tasks`). Writes sweep.json and theta.safetensors, and prints a table.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celo._core.files import write_atomically
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.runs.files import check_folder, foreign, json_ready, write_json
from celo.meta.tasks import META_VALIDATION
from celo.meta.trainer import THETA_FILE
from celo.scripts import checks, meta_train
from celo.scripts.devices import set_up

if TYPE_CHECKING:
    from celo.evaluation.report.table import Table
    from celo.meta.selection import Selected, Selection
    from celo.meta.sweep import Choice

PROGRAM = "celo sweep"
FILE = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Sweep(meta_train.OfRecipe):
    """The options that are not fields of a recipe.

    Attributes:
        out: folder of the sweep; default sweeps/PRESET.
        rates: outer learning rates; default the paper's five, for an optimizer with a published rate five
            around it.
        meta_seeds: seeds of meta-training.
        print_commands: print a command for every run, for a job array, and train nothing. After the jobs, run
            the sweep itself to choose.
    """

    out: str | None = None
    rates: tuple[float, ...] = ()
    meta_seeds: tuple[int, ...] = (0, 1, 2)
    print_commands: bool = False


def parse(argv: list[str] | None = None) -> tuple[Recipe, Sweep]:
    """The recipe and the other options of a command line, checked.

    Raises:
        ValueError: an option is not possible; a learning rate is given for a stage; or a validation task is
            in a suite.
    """
    from celo.meta.sweep import default_rates
    from celo.meta.trials import check_settings

    recipe, command = meta_train.parse(argv, Sweep, PROGRAM, __doc__, without=("seed",))
    plain = preset(command.preset, recipe.optimizer)
    for number, stage in enumerate(recipe.stages, 1):
        default = plain.stages[min(number, len(plain.stages)) - 1].learning_rate
        if stage.learning_rate != default:
            raise ValueError(f"stage{number}.learning_rate is {stage.learning_rate}; give --rates instead")
    check_settings(command.settings)
    recipe = with_validation(recipe, plain)
    changes = {"rates": command.rates or default_rates(recipe.optimizer)}
    changes |= {"out": command.out or f"sweeps/{command.preset}"}
    return recipe, dataclasses.replace(command, **changes)


def with_validation(recipe: Recipe, plain: Recipe) -> Recipe:
    """A recipe with tasks to choose by: `META_VALIDATION`, unless it has others than its preset ``plain``.

    Raises:
        ValueError: a task of its own is in a suite.
    """
    from celo.evaluation.suites import suites

    if recipe.validation_tasks == plain.validation_tasks:
        return dataclasses.replace(recipe, validation_tasks=META_VALIDATION)
    for suite, tasks in suites().items():
        if found := sorted({*recipe.validation_tasks}.intersection(tasks)):
            raise ValueError(
                f"{', '.join(found)}: in the suite {suite}, and so no task to choose by; expected tasks in "
                f"no suite, such as {', '.join(META_VALIDATION)}"
            )
    return recipe


def check_out(out: Path, recipe: Recipe) -> None:
    """Checks that a folder is free for a sweep, or holds one of this recipe."""
    check_folder(out)
    file = out / FILE
    if file.is_file():
        found = json.loads(file.read_text())["recipe"]
        ours = common(recipe)
        if differing := sorted(name for name in {*found, *ours} if found.get(name) != ours.get(name)):
            raise ValueError(f"{out} holds a sweep of another recipe: {', '.join(differing)} differ")
    elif out.is_dir() and (others := foreign(out)):
        raise ValueError(f"{out} holds other files, such as {others[0]}; expected a new folder")


def common(recipe: Recipe) -> dict[str, Any]:
    """What all runs of a sweep have in common, as JSON holds it."""
    config = recipe.change_stages({"learning_rate": 1.0}).config()
    return json_ready({name: value for name, value in config.items() if name != "seed"}, "recipe")


def main(argv: list[str] | None = None) -> int:
    """Runs the sweep; 0 = a rate is chosen, 1 = something is left to do, as after a signal."""
    from celo.meta import sweep
    from celo.meta.selection import Selection
    from celo.meta.trials import run_trials

    with checks.exit_with():
        recipe, command = parse(argv)
        trials, out = sweep.trials(recipe, command.rates, command.meta_seeds), Path(str(command.out))
        check_out(out, recipe)
        if command.print_commands:
            for trial in trials.values():
                print(meta_train.command_for(trial.recipe, _as_run(command, out / trial.label)))
            return 0
        set_up(command.devices)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / FILE).is_file():
            write_json(out / FILE, {"recipe": common(recipe)})
        trained = run_trials(
            list(trials.values()), out, command.settings, functools.partial(print, flush=True)
        )
        if trained.stopped:
            print("stopped by a signal; the same command resumes")
            return 1
        selection = Selection.of(recipe, command.settings.data_dir)
        finished = {
            key: trained.finished[one.label] for key, one in trials.items() if one.label in trained.finished
        }
        conclude(recipe, out, selection, {key: selection.of_run(one) for key, one in finished.items()})
        return int(len(finished) < len(trials))


def _as_run(command: Sweep, folder: Path) -> meta_train.MetaTrain:
    """The options of `celo meta-train` for one run."""
    return meta_train.MetaTrain(command.settings, command.devices, command.preset, str(folder))


def conclude(
    recipe: Recipe, out: Path, selection: Selection, selected: dict[tuple[float, int], Selected]
) -> None:
    """Chooses among the finished runs, writes sweep.json and theta.safetensors, and prints the table."""
    from celo.meta.sweep import choose, label

    if not selected:
        print("no run is finished; the same command resumes")
        return
    choice = choose(selected)
    chosen = selected[choice.rate, choice.seed]
    write_atomically(out / THETA_FILE, chosen.theta.read_bytes())
    runs = [
        {"rate": rate, "seed": seed, "run": label(rate, seed), "mean": one.mean, "losses": one.losses}
        for (rate, seed), one in selected.items()
    ]
    rates = [
        {"rate": one.rate, "seeds": one.seeds, "loss": one.loss._asdict()}
        | {"behind": one.behind and one.behind._asdict()}
        for one in choice.rates
    ]
    write_json(
        out / FILE,
        {
            "recipe": common(recipe),
            "validation": {"tasks": selection.tasks, "steps": selection.steps, "seeds": selection.seeds},
            "runs": runs,
            "rates": rates,
            "chosen": {"rate": choice.rate, "seed": choice.seed, "theta": os.path.relpath(chosen.theta, out)},
        },
    )
    print(f"\n{table(choice).text()}\n\nchosen: rate {choice.rate:g}, seed {choice.seed}: {out / THETA_FILE}")


def table(choice: Choice) -> Table:
    """A row per rate: validation loss and paired difference to the chosen rate, each with its interval."""
    from celo.evaluation.report.table import Table

    def shown(interval: Any, form: str) -> str:
        if interval is None:
            return "chosen"
        mean, *bounds = (format(x, form) for x in interval)
        return mean if math.isnan(interval.low) else f"{mean} [{', '.join(bounds)}]"

    rows = tuple(
        (f"{one.rate:g}", str(len(one.seeds)), shown(one.loss, ".4f"), shown(one.behind, "+.4f"))
        for one in choice.rates
    )
    return Table(("rate", "seeds", "validation loss", "behind the chosen"), rows)


if __name__ == "__main__":
    sys.exit(main())
