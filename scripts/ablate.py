"""Run the grid of changes to the recipe: what each part of Celo contributes.

`celo ablate --preset quick --suite quick --out grid` meta-trains every row of the grid (see
`celo.ablations.grid`), trains the suite with the results and with Adam at every learning rate, and writes a
table with the paper's numbers beside, and a whole report. The same command resumes. `--rows` and `--tables`
select part of the grid, so that several processes can share the work; `--plan` prints the meta-trainings with
estimated hours. Rows with an equal first stage share it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from celo.meta.runs.files import check_folder, foreign
from celo.scripts import checks
from celo.scripts.evaluate import SUITES

if TYPE_CHECKING:
    from celo.ablations.grid import Row
    from celo.evaluation.sweep import Request
    from celo.meta.recipe import Recipe
    from celo.meta.trials import Trial

# Measured: 0.24 s per meta-iteration at the paper's scale on two cores, 4 x 8 problems x 2 signs x 50 steps.
CORE_SECONDS_PER_STEP = 0.24 * 2 / (4 * 8 * 2 * 50)


class Entry(NamedTuple):
    """A row from one seed of meta-training.

    Attributes:
        row: the row.
        label: its name among the results.
        run: label of the meta-training that gives its theta; "" for released weights.
    """

    row: Row
    label: str
    run: str


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
        long_steps: steps of the trainings of the table horizons.
        velo_4000: the released weights of VeLO, a file or an address; without them the row is skipped.
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
    tables: tuple[Literal["augmentation", "parts", "optimizers", "velo", "horizons"], ...] = ()
    meta_seeds: tuple[int, ...] = (0,)
    iterations: int = 0
    suite: Annotated[str | None, SUITES] = None
    tasks: tuple[str, ...] = ()
    steps: int = 2000
    long_steps: int = 10_000
    velo_4000: str = "hf://amoudgl/velo-4000"
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
        if files and not {"meta", "results", "results_long", "table.md"} & {*found}:
            raise ValueError(f"{self.out} holds other files, such as {files[0]}; expected a new folder")

    def base(self, optimizer: str) -> Recipe:
        """The recipe an optimizer starts from."""
        from celo.meta.presets import preset

        found = preset(self.preset, optimizer)
        return found.change_stages({"iterations": self.iterations}) if self.iterations else found

    def entries(self) -> list[Entry]:
        """The rows to compare; all from one seed before the next."""
        from celo.ablations.grid import rows, run_names
        from celo.ablations.table import label

        names, found = run_names(self.base), {}
        for seed, row in itertools.product(self.meta_seeds, rows(self.rows, self.tables)):
            run = "" if row.weights else f"{names[row.recipe(self.base)]}.{seed}"
            found.setdefault(label(row, seed), Entry(row, label(row, seed), run))
        return list(found.values())

    def trials(self) -> list[Trial]:
        """What to meta-train; rows with equal recipes share a run, those with an equal stage 1 its theta."""
        from celo.ablations.grid import rows, run_names
        from celo.meta.trials import Trial

        names, found = run_names(self.base), {}

        def add(recipe: Recipe, seed: int, words: str, first_stage: str = "") -> str:
            name = f"{names[recipe]}.{seed}"
            one = Trial(name, dataclasses.replace(recipe, seed=seed), first_stage, words)
            return found.setdefault(name, one).label

        made = [row for row in rows(self.rows, self.tables) if not row.weights]
        for seed, row in itertools.product(self.meta_seeds, made):
            recipe, first = row.recipe(self.base), ""
            if len(recipe.stages) > 1:
                first = add(recipe.first_stage(), seed, f"stage 1 of {row.name}")
            add(recipe, seed, row.change, first)
        return list(found.values())

    def request(self, long: bool = False, learned: Sequence[str] = ()) -> Request:
        """The evaluation, in trainings of usual or long duration: Adam and the learned optimizers given."""
        from celo.evaluation.suites import tasks_of
        from celo.evaluation.sweep import Request, default_share

        tasks = tasks_of(self.suite or (None if self.tasks else "quick"), self.tasks)
        sizes = (self.long_steps if long else self.steps, self.seeds)
        more = {"data_dir": self.data_dir, "share": default_share()}
        folder = self.out.absolute() / ("results_long" if long else "results")
        return Request(folder, tasks, ("adam", *learned), *sizes, **more)

    def run(self) -> int:
        """Runs the grid.

        Returns:
            0 = the whole table is written; 1 = something is left to do, as after a signal in meta-training,
            or released weights are missing; 128 + n = signal n in the evaluation.
        """
        from celo.evaluation.sweep import sweep
        from celo.meta.trainer import Settings
        from celo.meta.trials import run_trials
        from celo.scripts import pipeline
        from celo.scripts.devices import Devices, core_count, set_up

        entries, trials = self.entries(), self.trials()
        kinds = sorted({entry.row.long for entry in entries})
        if self.plan:
            print(plan(self, trials, self.host_devices or core_count()))
            return 0
        set_up(Devices(self.host_devices))
        for long in kinds:
            sweep(self.request(long))  # now, so that bad data do not show up after hours
        data_dir = self.data_dir and str(self.data_dir)
        settings = Settings(data_dir=data_dir, tracker=self.tracker, group=self.out.absolute().name)
        trained = run_trials(trials, self.out / "meta", settings, functools.partial(print, flush=True))
        if trained.stopped:
            print("stopped by a signal; the same command resumes")
            return 1
        thetas, skipped = thetas_of(self, entries, trained.finished)
        requests, code = [], 0
        for long in kinds:
            own = [one.label for one in entries if one.row.long == long and one.label in thetas]
            requests.append(self.request(long, [f"{label}:{thetas[label]}" for label in own]))
            code = max(code, pipeline.train(requests[-1])[1])
            if code > 1:
                print("the same command writes the table")
                return code
        report(self, dict(zip(kinds, requests, strict=True)), skipped)
        return code or int(len(thetas) < len(entries))


def thetas_of(
    command: Ablate, entries: Sequence[Entry], finished: Mapping[str, Any]
) -> tuple[dict[str, Path], list[str]]:
    """Absolute path of every theta by the label of its row, and a sentence for each row skipped."""
    from celo.meta.trainer import THETA_FILE

    folder, thetas, skipped = command.out.absolute() / "meta", {}, []
    for entry in entries:
        if entry.run in finished:
            thetas[entry.label] = folder / entry.run / THETA_FILE
        elif not entry.run:
            try:
                thetas[entry.label] = released(entry.row, command.velo_4000, folder / entry.label)
            except (FileNotFoundError, ConnectionError, ImportError) as error:
                skipped.append(f"{entry.label} is skipped: no weights at {command.velo_4000} ({error}).")
    for sentence in skipped:
        print(sentence, flush=True)
    return thetas, skipped


def released(row: Row, source: str, folder: Path) -> Path:
    """Released weights with their configuration, in a file of ``folder``; read from ``source`` once."""
    import celo
    from celo import checkpoint
    from celo._core.names import parse_option
    from celo.meta.trainer import THETA_FILE

    path = folder / THETA_FILE
    if not path.is_file():
        found = checkpoint.read(source, row.optimizer, **dict(map(parse_option, row.options)))
        origin = {"source": source, "sha256": found.sha256, "revision": found.revision}
        folder.mkdir(parents=True, exist_ok=True)
        celo.save(path, found.name, found.config, found.theta, origin)
    return path


def report(command: Ablate, requests: Mapping[bool, Request], skipped: Sequence[str]) -> None:
    """Writes table.md, table.csv and the reports; prints the tables.

    ``requests`` are the evaluations, by whether their trainings are long.
    """
    from celo._core.files import write_atomically
    from celo.ablations.grid import CELO, CELO_LONG
    from celo.ablations.table import findings, records, table
    from celo.evaluation.checks import notes
    from celo.evaluation.report.records import csv_bytes
    from celo.scripts import pipeline

    parts, numbers = [], []
    for long, request in requests.items():
        folder = command.out / ("report_long" if long else "report")
        shown = (pipeline.of_request(request), folder, command.reps, command.seed)
        scores, page = pipeline.show(request.folder, *shown)
        resampled = (command.meta_seeds, command.reps, command.seed)
        found = findings(scores, *resampled, CELO_LONG if long else CELO)
        print(f"{table(found).text()}\n\nAll scores: {page}")
        if found:  # without scores, an earlier table stays
            tasks = f"Trainings of {request.steps:,} steps; tasks ({len(scores.tasks)}): "
            parts += [table(found).markdown(), f"{tasks}{', '.join(scores.tasks)}.", *notes(scores)]
            numbers += [{**record, "steps": request.steps} for record in records(found)]
    if numbers:
        write_atomically(command.out / "table.md", "\n\n".join([*parts, *skipped, ""]).encode())
        write_atomically(command.out / "table.csv", csv_bytes(numbers))


def plan(command: Ablate, trials: Sequence[Trial], cores: int) -> str:
    """A table of the meta-trainings: what they change, meta-iterations, estimated hours.

    Hours are those of a run that has already measured its speed in ``out``, else estimated from the number of
    inner steps, which is right within a factor of about two; evaluations and compilation do not count.
    """
    from celo.evaluation.report.table import Table

    lines, total = [], 0.0
    for one in trials:
        stages = one.recipe.stages
        iterations = [f"{stage.iterations:,}" for stage in stages]
        if one.first_stage:
            iterations[0] = one.first_stage
        each = estimated_hours(one, command.out / "meta" / one.label, cores)
        total += each
        lines.append((one.label, one.words, " + ".join(iterations), f"{each:.2g}"))
    lines.append(("all", "", "", f"{total:.2g}"))
    return Table(("run", "change", "meta-iterations", f"hours, {cores} cores"), tuple(lines)).text()


def estimated_hours(trial: Trial, folder: Path, cores: int) -> float:
    """Hours of a meta-training: by the speed its run folder holds, else by the number of inner steps."""
    from celo.meta.runs.metrics import read_metrics

    file, seconds, recipe = folder / "metrics.jsonl", 0.0, trial.recipe
    rows = read_metrics(file) if file.is_file() else []
    measured = [row["seconds_per_meta_iteration"] for row in rows if "seconds_per_meta_iteration" in row]
    for number, stage in enumerate(recipe.stages):
        if number == 0 and trial.first_stage:
            continue
        length = stage.horizon_high if stage.whole_trainings else stage.truncation
        steps = 2 * stage.problems * length * len(recipe.families(number))
        each = sum(measured) / len(measured) if measured else CORE_SECONDS_PER_STEP * steps / cores
        seconds += each * stage.iterations
    return seconds / 3600


main = checks.program(Ablate, "celo ablate", __doc__)

if __name__ == "__main__":
    sys.exit(main())
