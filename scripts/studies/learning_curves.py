"""Does every learned optimizer learn? `python -m scripts.studies.learning_curves --run-dir runs/curves`.

Meta-trains each for a few hundred meta-iterations on the preset quick with its own outer settings, in one
run folder each; the same command resumes it. Celo's two stages are two runs. Then the first and the last
meta-parameters train the same problems from first step to last. The meta-loss along the way also changes
because problems grow older; this difference is what was learned. Writes a figure and prints a table; exit
code 1 if a meta-loss was not finite.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from celo import LEARNED
from celo._core import names
from celo._core.files import write_atomically
from celo.evaluation.report import style
from celo.evaluation.report.figures import centred_mean
from celo.evaluation.report.table import Table
from celo.meta.initial_theta import initial_theta
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.runs.metrics import read_metrics
from celo.meta.tasks import make
from celo.meta.trainer import THETA_FILE, Result, Settings, meta_train
from celo.scripts import checks
from celo.scripts.devices import Devices, set_up
from celo.scripts.studies.meta_losses import Difference, difference, meta_losses

PAIRED = "paired.json"
PROBLEMS_KEY = 1 << 30  # of the key of a run; meta-training folds in small numbers
ENDS, REACH = 20, 4


class LearningCurve(NamedTuple):
    """One meta-training.

    Attributes:
        label: what was trained.
        settings: outer settings, in words.
        steps: (rows,) meta-iterations done at each row of the metrics.
        losses: (rows,) meta-loss, the mean over the meta-iterations of a row.
        paired: (problems, 2) losses of whole trainings with the first and with the last meta-parameters.
        seconds: median seconds of a meta-iteration.
    """

    label: str
    settings: str
    steps: np.ndarray
    losses: np.ndarray
    paired: np.ndarray
    seconds: float

    @property
    def change(self) -> Difference:
        """What the loss of whole trainings changed by from the first theta to the last."""
        return difference(self.paired[:, 1], self.paired[:, 0])

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        first = self.losses[self.steps <= ENDS].mean()
        last = self.losses[self.steps > self.steps[-1] - ENDS].mean()
        losses = (f"{loss:.3f}" for loss in (first, last, *self.paired.mean(axis=0)))
        change = f"{self.change.mean:+.4f} ± {self.change.error:.4f}"
        return (self.label, self.settings, *losses, change, f"{self.seconds:.2f}")


def table(curves: Sequence[LearningCurve]) -> str:
    """A Markdown table: what was set, the meta-loss at both ends, and the paired difference."""
    ends = (f"first {ENDS}", f"last {ENDS}", "before", "after", "difference", "s / iteration")
    return Table(("optimizer", "outer settings", *ends), tuple(curve.row() for curve in curves)).markdown()


def figure(curves: Sequence[LearningCurve]) -> Figure:
    """A panel per meta-training: the meta-loss as logged and smoothed; its title is what theta gained."""
    columns = min(5, len(curves))
    lines = -(-len(curves) // columns)
    with style.style():
        figure = Figure(figsize=(2.5 * columns, 2.0 * lines), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axis in panels[len(curves) :]:
            axis.remove()
        for axis, curve in zip(panels, curves, strict=False):
            axis.plot(curve.steps, curve.losses, color=style.BLUE, lw=0.6, alpha=0.4)
            axis.plot(curve.steps, centred_mean(curve.losses, REACH), color=style.BLUE)
            change = f"{curve.change.mean:+.3f} ± {curve.change.error:.3f}"
            axis.set_title(f"{curve.label}: {change}", fontsize=8, loc="left")
            axis.set_xlim(0, curve.steps[-1])
        figure.supxlabel("meta-iteration", fontsize=9)
        figure.supylabel("meta-loss", fontsize=9)
    return figure


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
        seed: seed of everything random.
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

    def check(self) -> None:
        """Checks names and recipes before anything is trained."""
        for name in self.optimizers or LEARNED:
            names.lookup("optimizer", name, LEARNED)
            self.recipe(name, 1)

    def recipe(self, optimizer: str, number: int) -> Recipe:
        """One stage of the preset for an optimizer, alone; the second starts from the end of the first."""
        quick = preset("quick", optimizer)
        init = str(self.folder(optimizer, 1) / THETA_FILE) if number == 2 else ""
        stage = dataclasses.replace(quick.stages[number - 1], iterations=self.iterations, init=init)
        plain = dataclasses.replace(quick, stages=(stage,), seed=self.seed, validate_every=0)
        return dataclasses.replace(plain, iterations_per_call=self.per_row)

    def folder(self, optimizer: str, number: int) -> Path:
        """The run folder of a stage."""
        return self.run_dir / (optimizer if number == 1 else f"{optimizer}_stage{number}")

    def stages(self) -> list[tuple[str, int]]:
        """Optimizers and stages to train, in order; two stages for those with a scheduler."""
        staged = {name for name in LEARNED if "stage" in names.options(LEARNED[name])}
        chosen = self.optimizers or tuple(LEARNED)
        return [(name, number) for name in chosen for number in (1, 2) if number == 1 or name in staged]

    def run(self) -> int:
        """Writes figure and table; 0 = done, or stopped by a signal; 1 = a meta-loss was not finite."""
        set_up(Devices(self.host_devices))
        curves = self.trained()
        if curves is None:
            print("stopped by a signal; the same command resumes")
            return 0
        self.out.mkdir(parents=True, exist_ok=True)
        style.save(figure(curves), self.out / "learning_curves")
        print(table(curves))
        if broken := [curve.label for curve in curves if not np.isfinite(curve.losses).all()]:
            print(f"error: a meta-loss of {', '.join(broken)} is not finite", file=sys.stderr)
        return int(bool(broken))

    def trained(self) -> list[LearningCurve] | None:
        """Trains what is not trained yet; None if a signal stopped it."""
        curves = []
        for optimizer, number in self.stages():
            recipe = self.recipe(optimizer, number)
            result = meta_train(recipe, self.folder(optimizer, number), Settings(progress=False))
            if not result.finished:
                return None
            curves.append(self.curve(recipe, number, result))
            print("  ".join(curves[-1].row()), file=sys.stderr, flush=True)
        return curves

    def curve(self, recipe: Recipe, number: int, result: Result) -> LearningCurve:
        """What a finished run shows."""
        rows = read_metrics(result.path / "metrics.jsonl")
        steps, losses = (np.array([row[name] for row in rows]) for name in ("step", "meta_loss"))
        seconds = float(np.median([row["seconds_per_meta_iteration"] for row in rows]))
        label = recipe.optimizer if number == 1 else f"{recipe.optimizer}, stage {number}"
        return LearningCurve(label, settings(recipe), steps, losses, self.paired(recipe, result), seconds)

    def paired(self, recipe: Recipe, result: Result) -> np.ndarray:
        """(problems, 2) losses of whole trainings with the first and the last theta; kept in a file."""
        path = result.path / PAIRED
        if path.exists() and len(found := np.array(json.loads(path.read_text()))) == self.problems:
            return found
        key = jax.random.fold_in(jax.random.key(recipe.seed), PROBLEMS_KEY)
        thetas, task = [initial_theta(recipe), result.theta], make(recipe.tasks[0])
        found = meta_losses(result.learned, recipe.stages[0], thetas, task, key, self.problems)
        write_atomically(path, json.dumps(found.tolist()).encode())
        return found


def settings(recipe: Recipe) -> str:
    """The outer learning rate, and what differs from the preset, in words."""
    stage, plain = recipe.stages[0], preset("quick").stages[0]
    differing = [
        f"{name} {getattr(stage, name)}"
        for name in ("sigma", "augmentation", "problems")
        if getattr(stage, name) != getattr(plain, name)
    ]
    return ", ".join([f"rate {stage.learning_rate:g}", *recipe.options, *differing])


main = checks.program(LearningCurves, "learning_curves", __doc__, ("run_dir", "out"))

if __name__ == "__main__":
    sys.exit(main())
