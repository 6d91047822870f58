"""Does every learned optimizer learn? `python -m scripts.learning_curves --run-dir runs/curves --out report`.

Meta-trains each for a few hundred meta-iterations on the preset quick, with the outer settings that
`celo.meta.presets` has for it, in a run folder each: stopped, the same command goes on. Celo's two stages are two
runs. Then the first and the last meta-parameters train the same problems from first step to last: unlike the
meta-loss along the way, which also moves because problems grow older, their difference is what was learned.
Writes a figure and prints a table; exit code 1 if a meta-loss was not finite.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from celo import LEARNED
from celo._core import names
from celo._core.files import write_atomically
from celo.evaluation.report import style
from celo.evaluation.report.learning_curves import LearningCurve, figure, table
from celo.meta.estimators.paired import meta_losses
from celo.meta.initial_theta import initial_theta
from celo.meta.presets import preset
from celo.meta.recipe import Recipe, Stage
from celo.meta.runs.metrics import read_metrics
from celo.meta.tasks import make
from celo.meta.trainer import THETA_FILE, Result, Settings, meta_train
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with

FIGURE = "learning_curves"
PAIRED = "paired.json"
# Of the key of a run; what meta-training folds in are small numbers.
PROBLEMS_KEY = 1 << 30


@dataclasses.dataclass(frozen=True)
class LearningCurves:
    """Meta-train every learned optimizer for a while and show how its meta-loss falls.

    Attributes:
        run_dir: folder of the runs.
        out: folder of the figure, learning_curves.png and .svg.
        optimizers: names of learned optimizers; () = all.
        iterations: meta-iterations of each.
        per_row: meta-iterations in a row of the metrics.
        problems: problems on which the first and the last meta-parameters are compared.
        seed: of everything random.
        host_devices: devices to make of the CPU; 0 = one per core.
    """

    run_dir: Path = Path("runs/learning_curves")
    out: Path = Path("report")
    optimizers: tuple[str, ...] = ()
    iterations: int = 200
    per_row: int = 5
    problems: int = 32
    seed: int = 0
    host_devices: int = 0

    def __post_init__(self) -> None:
        """Checks names and numbers before anything is trained."""
        for name in self.optimizers:
            if name not in LEARNED:
                raise names.unknown_name("optimizer", name, LEARNED)
        if self.problems < 2:
            raise ValueError(f"problems is {self.problems}; expected at least 2, for a standard error")
        for name in self.optimizers or LEARNED:
            self.recipe(name, 1)

    def recipe(self, optimizer: str, part: int) -> Recipe:
        """One stage of the preset for an optimizer; the second begins where the first ended."""
        quick = preset("quick", optimizer)
        init = str(self.folder(optimizer, 1) / THETA_FILE) if part == 2 else ""
        stage = quick.stages[part - 1]
        return dataclasses.replace(
            quick,
            stages=(dataclasses.replace(stage, iterations=self.iterations, init=init),),
            seed=self.seed,
            validate_every=0,
            iterations_per_call=self.per_row,
        )

    def folder(self, optimizer: str, part: int) -> Path:
        """The run folder of a stage."""
        return self.run_dir / (optimizer if part == 1 else f"{optimizer}_stage{part}")

    def stages(self) -> list[tuple[str, int]]:
        """Optimizers and stages to train, in order; two stages for those that divide the work."""
        chosen = self.optimizers or tuple(LEARNED)
        return [
            (name, part)
            for name in chosen
            for part in (1, 2)[: 2 if "stage" in names.options(LEARNED[name]) else 1]
        ]

    def run(self) -> list[LearningCurve] | None:
        """Trains what is not trained yet; None if a signal stopped it."""
        curves = []
        for optimizer, part in self.stages():
            recipe = self.recipe(optimizer, part)
            result = meta_train(recipe, self.folder(optimizer, part), Settings(progress=False))
            if not result.finished:
                return None
            curves.append(self.curve(recipe, part, result))
            print(table(curves[-1:]).rows[0], file=sys.stderr, flush=True)
        return curves

    def curve(self, recipe: Recipe, part: int, result: Result) -> LearningCurve:
        """What a finished run shows."""
        rows = read_metrics(result.path / "metrics.jsonl")
        steps = np.array([row["step"] for row in rows])
        seconds = float(np.median([row["seconds_per_meta_iteration"] for row in rows]))
        losses = np.array([row["meta_loss"] for row in rows])
        paired = self.paired(recipe, result)
        label = recipe.optimizer if part == 1 else f"{recipe.optimizer}, stage {part}"
        return LearningCurve(label, settings(recipe), steps, losses, paired[:, 0], paired[:, 1], seconds)

    def paired(self, recipe: Recipe, result: Result) -> np.ndarray:
        """(problems, 2) losses of whole trainings with the first and the last theta; kept in a file."""
        path = result.path / PAIRED
        if path.exists() and len(found := np.array(json.loads(path.read_text()))) == self.problems:
            return found
        key = jax.random.fold_in(jax.random.key(recipe.seed), PROBLEMS_KEY)
        thetas = [initial_theta(recipe), result.theta]
        task = make(recipe.tasks[0])
        found = meta_losses(result.learned, recipe.stages[0], thetas, task, key, self.problems)
        write_atomically(path, json.dumps(found.tolist()).encode())
        return found


def settings(recipe: Recipe) -> str:
    """What was set otherwise than in the preset, in words, and the outer learning rate."""
    stage, plain = recipe.stages[0], preset("quick").stages[0]
    said = [f"rate {stage.learning_rate:g}", *recipe.options]
    said += _differing(stage, plain, ("sigma", "augmentation", "problems"))
    return ", ".join(said)


def _differing(stage: Stage, plain: Stage, fields: tuple[str, ...]) -> list[str]:
    values: dict[str, Any] = {name: getattr(stage, name) for name in fields}
    return [f"{name} {value}" for name, value in values.items() if value != getattr(plain, name)]


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = done, or stopped by a signal; 1 = a meta-loss was not finite."""
    with exit_with():
        command = tyro.cli(LearningCurves, args=argv, description=__doc__, prog="learning_curves")
        set_up(Devices(command.host_devices))
        command.out.mkdir(parents=True, exist_ok=True)
        curves = command.run()
        if curves is None:
            print("stopped by a signal; the same command goes on")
            return 0
        style.save(figure(curves), command.out / FIGURE)
    print(table(curves).markdown())
    broken = [curve.label for curve in curves if not np.isfinite(curve.losses).all()]
    if broken:
        print(f"error: a meta-loss of {', '.join(broken)} is not finite", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
