"""Do changes to a recipe help? Paired meta-trainings with and without each, and intervals of the differences.

    python -m scripts.studies.paired --preset cpu --stage2.iterations 5000 --out paired
        --variants "average: --stage2.average 0.1" "rate: --stage2.learning-rate 3e-4"

The recipe is given as for `celo meta-train`, each variant by a name and the options that differ. The recipe
itself and every variant are meta-trained from the same seeds. A first stage that several have in common is
trained once. All results then train the same fresh problems, on tasks that are neither meta-trained on nor in
a suite (`--validation-tasks`). A difference is a variant's loss minus the recipe's from the same seed; its
interval is Student's over seeds, so "better" and "worse" are differences outside the noise of these seeds.

Each run is a folder below `--out`, and the same command resumes. Several processes may share the folder. The
numbers are in paired.json.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from celo.evaluation.report.table import Table
from celo.meta.intervals import Interval, mean_interval
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.runs.files import check_folder, write_json
from celo.meta.selection import Selected, Selection, check_validation
from celo.meta.trainer import Settings
from celo.meta.trials import Trial, check_settings, run_trials, share_first_stages
from celo.scripts import checks, meta_train
from celo.scripts.devices import Devices, set_up
from celo.scripts.sweep import with_validation

PROGRAM = "paired"
BASE = "recipe"
FEWEST = 3  # seeds; with two, an interval is a factor of 12.7 wide
FILE = "paired.json"


@dataclasses.dataclass(frozen=True)
class Paired(meta_train.OfRecipe):
    """The options that are not fields of a recipe.

    Attributes:
        out: folder of the runs.
        variants: each "NAME: OPTIONS", with options of `celo meta-train` that change the recipe.
        meta_seeds: seeds of meta-training, at least 3.
    """

    out: str = "paired"
    variants: tuple[str, ...] = ()
    meta_seeds: tuple[int, ...] = (0, 1, 2)


def parse(argv: list[str] | None = None) -> tuple[dict[str, Recipe], Paired]:
    """The recipe and its variants by name, the recipe first, and the other options; all checked.

    Raises:
        ValueError: too few seeds, no variant, one without a name or a change, or with options that do not
            fit; a task of meta-validation that is meta-trained on or in a suite.
    """
    recipe, command = meta_train.parse(argv, Paired, PROGRAM, __doc__, without=("seed",))
    check_folder(Path(command.out))
    check_settings(command.settings)
    if len({*command.meta_seeds}) < max(FEWEST, len(command.meta_seeds)):
        raise ValueError(f"meta_seeds is {command.meta_seeds}; expected at least {FEWEST}, all different")
    if not command.variants:
        raise ValueError("there is nothing to compare; give --variants 'NAME: OPTIONS'")
    recipes = {BASE: with_validation(recipe, preset(command.preset, recipe.optimizer))}
    for text in command.variants:
        name, colon, options = (part.strip() for part in text.partition(":"))
        if not (colon and name.replace("_", "").isalnum()) or name in recipes:
            raise ValueError(f"variant {text!r}: expected 'NAME: OPTIONS' with a name of its own")
        plain = meta_train.MetaTrain(Settings(), Devices(), command.preset)
        words = [*meta_train.arguments(recipes[BASE], plain), *shlex.split(options)]
        changed, others = meta_train.parse(words)
        if others != plain or changed.seed or changed == recipes[BASE]:
            raise ValueError(f"variant {text!r}: expected options that change the recipe, and no others")
        recipes[name] = changed
    for one in recipes.values():
        check_validation(one)
        if one.validation_tasks != recipes[BASE].validation_tasks:
            raise ValueError("a variant changes validation_tasks; all are compared on the same ones")
    return recipes, command


class Comparison(NamedTuple):
    """What a variant gains.

    Attributes:
        name: of the variant.
        seeds: seeds that it has in common with the recipe.
        loss: mean validation loss.
        difference: of its loss to that of the recipe from the same seed; below 0 is better.
        by_task: the same for every task.
    """

    name: str
    seeds: tuple[int, ...]
    loss: Interval
    difference: Interval
    by_task: dict[str, Interval]

    @property
    def verdict(self) -> str:
        """In words: a difference whose interval contains 0 tells nothing."""
        if self.difference.high < 0:
            return "better"
        return "worse" if self.difference.low > 0 else "cannot be told"


def compare(
    names: Sequence[str], seeds: Sequence[int], selected: Mapping[tuple[str, int], Selected]
) -> list[Comparison]:
    """Every variant that shares finished seeds with the recipe; ``selected`` is by name and seed."""
    found = []
    for name in names:
        both = [seed for seed in seeds if {(name, seed), (BASE, seed)} <= selected.keys()]
        if name == BASE or not both:
            continue
        pairs = [(selected[name, seed], selected[BASE, seed]) for seed in both]
        by_task = {
            task: mean_interval([own.losses[task] - base.losses[task] for own, base in pairs])
            for task in pairs[0][0].losses
        }
        difference = mean_interval([own.mean - base.mean for own, base in pairs])
        loss = mean_interval([own.mean for own, _ in pairs])
        found.append(Comparison(name, tuple(both), loss, difference, by_task))
    return found


def table(found: Sequence[Comparison]) -> Table:
    """A row per variant over all tasks, then one per task."""
    lines = []
    for one in found:
        head = (one.name, "all", str(len(one.seeds)), f"{one.loss.mean:.4f}")
        lines.append((*head, _shown(one.difference), one.verdict))
        lines += [(one.name, task, "", "", _shown(change), "") for task, change in one.by_task.items()]
    return Table(("variant", "task", "seeds", "loss", "difference", "verdict"), tuple(lines), words=2)


def _shown(interval: Interval) -> str:
    mean, low, high = (f"{x:+.4f}" for x in interval)
    return f"{mean} [{low}, {high}]"


def main(argv: list[str] | None = None) -> int:
    """Runs the comparison; 0 = it is complete, 1 = something is left to do, as after a signal."""
    with checks.exit_with():
        recipes, command = parse(argv)
        keys = [(name, seed) for seed in command.meta_seeds for name in recipes]
        trials = [
            Trial(f"{name}.{seed}", dataclasses.replace(recipes[name], seed=seed)) for name, seed in keys
        ]
        set_up(command.devices)
        out = Path(command.out)
        everything = share_first_stages(trials)
        trained = run_trials(everything, out, command.settings, functools.partial(print, flush=True))
        if trained.stopped:
            print("stopped by a signal; the same command resumes")
            return 1
        selection = Selection.of(recipes[BASE], command.settings.data_dir)
        selected = {
            key: selection.of_run(trained.finished[trial.label])
            for key, trial in zip(keys, trials, strict=True)
            if trial.label in trained.finished
        }
        found = compare(list(recipes), command.meta_seeds, selected)
        write(out, recipes, selection, found)
        print(f"\n{table(found).text()}\n\nnumbers: {out / FILE}")
        return int(len(selected) < len(keys))


def write(
    out: Path, recipes: Mapping[str, Recipe], selection: Selection, found: Sequence[Comparison]
) -> None:
    """Writes paired.json: the recipes, the validation, and the differences with their intervals."""
    rows = [
        {
            "variant": one.name,
            "seeds": one.seeds,
            "loss": one.loss._asdict(),
            "difference": one.difference._asdict(),
            "verdict": one.verdict,
            "by_task": {task: change._asdict() for task, change in one.by_task.items()},
        }
        for one in found
    ]
    content = {
        "recipes": {name: recipe.config() for name, recipe in recipes.items()},
        "validation": {"tasks": selection.tasks, "steps": selection.steps, "seeds": selection.seeds},
        "variants": rows,
    }
    write_json(out / FILE, content)


if __name__ == "__main__":
    sys.exit(main())
