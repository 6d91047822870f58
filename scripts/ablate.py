"""Run the grid of changes to the recipe: what each part of Celo is good for.

`celo ablate --preset quick --suite quick --out grid` meta-trains every row of the grid (see
`celo.ablations.grid`), trains the suite with what comes out and with Adam at every learning rate, and writes a
table with the paper's numbers beside, and a whole report. It goes on where it was stopped; `--rows` and
`--tables` take part of the grid, so that several processes may share the work; `--plan` says what there is.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Literal

import tyro

from celo._core.files import write_atomically
from celo.ablations.carry_out import META, RESULTS, Trial, evaluate, train, trials
from celo.ablations.grid import TABLES, rows
from celo.ablations.report import findings, records, table
from celo.evaluation.report.benchmark import write_benchmark
from celo.evaluation.report.caveats import caveats
from celo.evaluation.report.records import csv_bytes
from celo.evaluation.report.sections import Sources
from celo.evaluation.report.table import Table
from celo.evaluation.request import Request, default_baselines
from celo.evaluation.scoreboard import scoreboard
from celo.evaluation.scores import REFERENCE
from celo.evaluation.settings import Settings
from celo.evaluation.store import Store
from celo.evaluation.suites import tasks_of
from celo.evaluation.summary import summarise
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.runs.signals import stop_on_signals
from celo.meta.trainer import Settings as TrainerSettings
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with
from celo.scripts.evaluate import conclude
from celo.scripts.evaluate_progress import Progress


@dataclasses.dataclass(frozen=True)
class Ablate:
    """Meta-train rows of the grid and compare them.

    Attributes:
        preset: the recipe that rows are changes to: quick, cpu or paper.
        rows: names of rows; Celo itself is always among them. Default all.
        tables: augmentation, parts or optimizers: all rows of that table.
        meta_seeds: seeds of meta-training.
        iterations: meta-iterations of each stage; 0 = the preset's.
        suite: of evaluation tasks; quick if neither is given.
        tasks: names of tasks instead.
        steps: of every training.
        seeds: trainings of every configuration.
        out: folder of everything.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        reps: bootstrap resamples.
        seed: of the resampling.
        tracker: of meta-training: jsonl (the file of each run), none, or wandb.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        plan: say which rows there are, and do nothing.
    """

    preset: str = "quick"
    rows: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    meta_seeds: tuple[int, ...] = (0,)
    iterations: int = 0
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    steps: int = 2000
    seeds: int = 3
    out: Path = Path("grid")
    data_dir: Path | None = None
    reps: int = 2000
    seed: int = 0
    tracker: Literal["jsonl", "wandb", "none"] = "jsonl"
    host_devices: int = 0
    plan: bool = False

    def __post_init__(self) -> None:
        """Checks names and numbers before hours are spent."""
        if self.iterations < 0 or self.reps < 1:
            raise ValueError(
                f"iterations is {self.iterations} and reps {self.reps}; expected at least 0 and 1"
            )
        for trial in self.trials():
            trial.recipe(self.base)
        _ = self.request(), self.settings()

    def trials(self) -> tuple[Trial, ...]:
        """What is to be meta-trained."""
        return trials(rows(self.rows, self.tables), self.meta_seeds)

    def base(self, optimizer: str) -> Recipe:
        """The recipe an optimizer starts from."""
        found = preset(self.preset, optimizer)
        return found.change_stages({"iterations": self.iterations}) if self.iterations else found

    def settings(self) -> TrainerSettings:
        """How meta-training is carried out."""
        data_dir = None if self.data_dir is None else str(self.data_dir)
        return TrainerSettings(data_dir=data_dir, tracker=self.tracker, group=self.out.absolute().name)

    def request(self) -> Request:
        """What is evaluated, whatever the optimizers."""
        tasks = tasks_of(self.suite or (None if self.tasks else "quick"), self.tasks)
        settings = Settings(steps=self.steps, seeds=self.seeds)
        return Request(
            self.out.absolute() / RESULTS,
            tasks,
            (REFERENCE,),
            settings,
            data_dir=self.data_dir,
            baselines=default_baselines(),
        )


def report(command: Ablate, done: tuple[Trial, ...]) -> None:
    """Writes table.md and table.csv, and the report on the tasks asked for; prints the table."""
    store, tasks = Store(command.out / RESULTS, log=print), command.request().tasks
    labels = {REFERENCE, *(trial.label for trial in done)}
    asked = [name[:2] for name in store.expected if name.task in tasks and name.optimizer in labels]
    board = scoreboard([cell for cell in store.results() if (cell.task, cell.optimizer) in asked], asked)
    found = findings(board, done, command.reps, command.seed)
    if found:  # or else a table of before is better than none
        notes = [f"Tasks ({len(board.tasks)}): {', '.join(board.tasks)}.", *caveats(board)]
        text = "\n\n".join([table(found).markdown(), *notes])
        write_atomically(command.out / "table.md", f"{text}\n".encode())
        write_atomically(command.out / "table.csv", csv_bytes(records(found)))
    summaries = summarise(board, command.reps, command.seed)
    sources = Sources(command.reps, command.seed, "", store.provenance)
    page = write_benchmark(command.out / "report", board, summaries, sources)
    print("\n".join(["", table(found).text(), "", *caveats(board), "", f"All scores: {page}"]))


def main(argv: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 = the whole table is written; 1 = something is left to do, as after a signal in meta-training;
        128 + n = signal n in the evaluation.
    """
    with exit_with():
        command = tyro.cli(Ablate, args=argv, description=__doc__, prog="celo ablate")
        asked = command.trials()
        if command.plan:
            print(planned(command).text())
            return 0
        set_up(Devices(command.host_devices))
        check(command.request())
        log = functools.partial(print, flush=True)
        (command.out / META).mkdir(parents=True, exist_ok=True)
        thetas, stopped = train(asked, command.base, command.out, command.settings(), log)
        if stopped:
            print("stopped by a signal; the same command goes on")
            return 1
        with stop_on_signals() as stop, Progress(lambda cell: None) as progress:
            outcome = evaluate(thetas, command.request(), progress, lambda: stop.requested)
        code = conclude(outcome, (), stop, command.out / RESULTS)
        if stop.requested:
            print("the table is left to the same command")
            return stop.exit_code
        report(command, tuple(thetas))
        return code or int(len(thetas) < len(asked))


def check(request: Request) -> None:
    """Finds out before hours of meta-training what would stop the evaluation after them.

    Raises:
        ValueError: the folder holds results of other settings.
        DatasetNotFoundError: data of its tasks are not to be had.
    """
    evaluation = request.evaluation()
    evaluation.store.check(dataclasses.asdict(request.settings))
    _ = evaluation.jobs


def planned(command: Ablate) -> Table:
    """The rows asked for: what they change, for how many meta-iterations, and the paper's score."""
    lines = []
    for trial in command.trials():
        iterations = " + ".join(f"{stage.iterations:,}" for stage in trial.recipe(command.base).stages)
        row = trial.row
        lines.append((trial.label, TABLES[row.table], row.change, iterations, f"{row.published:.2f}"))
    return Table(("row.seed", "table", "change", "meta-iterations", "paper: IQM"), tuple(lines))


if __name__ == "__main__":
    sys.exit(main())
