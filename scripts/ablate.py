"""Run the grid of changes to the recipe: what each part of Celo contributes.

`celo ablate --preset quick --suite quick --out grid` meta-trains every row of the grid (see
`celo.ablations.grid`), trains the suite with the results and with Adam at every learning rate, and writes a
table with the paper's numbers beside, and a whole report. The same command resumes. `--rows` and `--tables`
select part of the grid, so that several processes can share the work; `--plan` prints the rows with
estimated hours.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from celo.meta.runs.files import check_folder, foreign
from celo.scripts import checks
from celo.scripts.evaluate import SUITES

if TYPE_CHECKING:
    from celo.ablations.grid import Row
    from celo.evaluation.sweep import Request
    from celo.meta.recipe import Recipe

# Measured: 0.24 s per meta-iteration at the paper's scale on two cores, 4 x 8 problems x 2 signs x 50 steps.
CORE_SECONDS_PER_STEP = 0.24 * 2 / (4 * 8 * 2 * 50)


class Trial(NamedTuple):
    """A row meta-trained from one seed."""

    row: Row
    seed: int
    label: str
    recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Ablate:
    """Meta-train rows of the grid and compare them.

    Attributes:
        preset: the recipe that rows are changes to.
        rows: names of rows; Celo itself is always among them. Default all.
        tables: all rows of these tables.
        meta_seeds: seeds of meta-training.
        iterations: meta-iterations of each stage; 0 = the preset's.
        suite: suite of evaluation tasks; quick if neither is given.
        tasks: names of tasks instead.
        steps: steps of every training.
        seeds: trainings of every setting.
        out: folder of everything.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        reps: bootstrap resamples.
        seed: seed of the resampling.
        tracker: tracker of meta-training; none and jsonl both mean metrics.jsonl alone.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        plan: print the rows with estimated hours, and do nothing.
    """

    preset: Literal["quick", "cpu", "wide", "paper"] = "quick"
    rows: tuple[str, ...] = ()
    tables: tuple[Literal["augmentation", "parts", "optimizers"], ...] = ()
    meta_seeds: tuple[int, ...] = (0,)
    iterations: int = 0
    suite: Annotated[str | None, SUITES] = None
    tasks: tuple[str, ...] = ()
    steps: int = 2000
    seeds: int = 3
    out: Path = Path("grid")
    data_dir: Path | None = None
    reps: int = 2000
    seed: int = 0
    tracker: Literal["none", "jsonl", "wandb"] = "jsonl"
    host_devices: int = 0
    plan: bool = False

    def check(self) -> None:
        """Checks the seeds and the folder."""
        if not self.meta_seeds or len(set(self.meta_seeds)) < len(self.meta_seeds):
            raise ValueError(f"meta_seeds is {self.meta_seeds}; expected one or more, all different")
        check_folder(self.out)
        found = foreign(self.out) if self.out.is_dir() else []
        files = [name for name in found if (self.out / name).is_file()]
        if files and not {"meta", "results", "table.md"} & {*found}:
            raise ValueError(f"{self.out} holds other files, such as {files[0]}; expected a new folder")

    def base(self, optimizer: str) -> Recipe:
        """The recipe an optimizer starts from."""
        from celo.meta.presets import preset

        found = preset(self.preset, optimizer)
        return found.change_stages({"iterations": self.iterations}) if self.iterations else found

    def trials(self) -> list[Trial]:
        """What to meta-train; all rows from one seed before the next."""
        from celo.ablations.grid import rows
        from celo.ablations.table import label

        chosen = rows(self.rows, self.tables)
        recipes = {row.name: row.recipe(self.base) for row in chosen}
        return [
            Trial(row, seed, label(row, seed), dataclasses.replace(recipes[row.name], seed=seed))
            for seed in self.meta_seeds
            for row in chosen
        ]

    def request(self, *learned: str) -> Request:
        """The evaluation: Adam and the learned optimizers given."""
        from celo.evaluation.suites import tasks_of
        from celo.evaluation.sweep import Request, default_share

        tasks = tasks_of(self.suite or (None if self.tasks else "quick"), self.tasks)
        sizes, more = (self.steps, self.seeds), {"data_dir": self.data_dir, "share": default_share()}
        return Request(self.out.absolute() / "results", tasks, ("adam", *learned), *sizes, **more)

    def run(self) -> int:
        """Runs the grid.

        Returns:
            0 = the whole table is written; 1 = something is left to do, as after a signal in meta-training;
            128 + n = signal n in the evaluation.
        """
        from celo.evaluation.sweep import sweep
        from celo.scripts.devices import Devices, core_count, set_up

        trials, request = self.trials(), self.request()
        if self.plan:
            print(plan(self, trials, self.host_devices or core_count()))
            return 0
        from celo.scripts import pipeline

        set_up(Devices(self.host_devices))
        sweep(request)  # now, so that bad data do not show up after hours
        thetas, stopped = train(self, trials)
        if stopped:
            print("stopped by a signal; the same command resumes")
            return 1
        request = self.request(*[f"{label}:{path.absolute()}" for label, path in thetas.items()])
        code = pipeline.train(request)[1]
        if code > 1:
            print("the same command writes the table")
            return code
        report(self, request)
        return code or int(len(thetas) < len(trials))


def train(command: Ablate, trials: Sequence[Trial]) -> tuple[dict[str, Path], bool]:
    """Meta-trains what is not finished, one trial after the other.

    A trial that another process holds is left to it and tried once more at the end.

    Returns:
        Theta of every finished trial by its label, and whether a signal stopped the work.
    """
    from celo.meta.trainer import THETA_FILE, Settings, meta_train

    data_dir = command.data_dir and str(command.data_dir)
    settings = Settings(data_dir=data_dir, tracker=command.tracker, group=command.out.absolute().name)
    finished: dict[str, Path] = {}
    busy: list[Trial] = []
    for trial in itertools.chain(trials, busy):  # a busy trial comes once more at the end
        folder = command.out / "meta" / trial.label
        print(f"{trial.label}: {trial.row.change}", flush=True)
        try:
            result = meta_train(trial.recipe, folder, settings)
        except BlockingIOError as error:
            print(f"{trial.label} is left to another process ({error})", flush=True)
            if trial not in busy:
                busy.append(trial)
            continue
        if result.finished:
            finished[trial.label] = folder / THETA_FILE
        if result.stopped or not result.finished:
            return finished, True
    return finished, False


def report(command: Ablate, request: Request) -> None:
    """Writes table.md, table.csv and the report; prints the table."""
    from celo._core.files import write_atomically
    from celo.ablations.table import findings, records, table
    from celo.evaluation.checks import notes
    from celo.evaluation.report.records import csv_bytes
    from celo.scripts import pipeline

    shown = (pipeline.of_request(request), command.out / "report", command.reps, command.seed)
    scores, page = pipeline.show(request.folder, *shown)
    found = findings(scores, command.meta_seeds, command.reps, command.seed)
    if found:  # without scores, an earlier table stays
        parts = [table(found).markdown(), f"Tasks ({len(scores.tasks)}): {', '.join(scores.tasks)}."]
        write_atomically(command.out / "table.md", "\n\n".join([*parts, *notes(scores), ""]).encode())
        write_atomically(command.out / "table.csv", csv_bytes(records(found)))
    print(f"{table(found).text()}\n\nAll scores: {page}")


def plan(command: Ablate, trials: Sequence[Trial], cores: int) -> str:
    """A table of trials: what they change, meta-iterations, estimated hours, the paper's score.

    Hours are those of a run that has already measured its speed in ``out``, else estimated from the number of
    inner steps, which is right within a factor of about two; evaluations and compilation do not count.
    """
    from celo.ablations.grid import TABLES
    from celo.evaluation.report.table import Table

    hours = [estimated_hours(one.recipe, command.out / "meta" / one.label, cores) for one in trials]
    lines = []
    for one, each in zip(trials, hours, strict=True):
        iterations = " + ".join(f"{stage.iterations:,}" for stage in one.recipe.stages)
        head = (one.label, TABLES[one.row.table], one.row.change, iterations)
        lines.append((*head, f"{each:.2g}", f"{one.row.published:.2f}"))
    lines.append(("all", "", "", "", f"{sum(hours):.2g}", ""))
    header = ("row.seed", "table", "change", "meta-iterations", f"hours, {cores} cores", "paper: IQM")
    return Table(header, tuple(lines)).text()


def estimated_hours(recipe: Recipe, folder: Path, cores: int) -> float:
    """Hours of a meta-training: by the speed its run folder holds, else by the number of inner steps."""
    from celo.meta.runs.metrics import read_metrics

    file, seconds = folder / "metrics.jsonl", 0.0
    rows = read_metrics(file) if file.is_file() else []
    measured = [row["seconds_per_meta_iteration"] for row in rows if "seconds_per_meta_iteration" in row]
    for number, stage in enumerate(recipe.stages):
        length = stage.horizon_high if stage.estimator == "full_es" else stage.truncation
        steps = 2 * stage.problems * length * len(recipe.families(number))
        each = sum(measured) / len(measured) if measured else CORE_SECONDS_PER_STEP * steps / cores
        seconds += each * stage.iterations
    return seconds / 3600


main = checks.program(Ablate, "celo ablate", __doc__)

if __name__ == "__main__":
    sys.exit(main())
