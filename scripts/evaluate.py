"""Train optimizers on tasks and keep what comes out.

`celo evaluate --suite quick --optimizers adam celo --out results/quick` trains every task of the suite with
every optimizer and seed, hand-designed ones at every learning rate of the grid, into a folder; `celo report`
makes scores of it. Optimizers are `adam` (or any hand-designed name), `adam@1e-3`, `nadamw-search:100`,
`LABEL:CHECKPOINT` or a checkpoint. What is finished is kept: the same command goes on, several may work on
one folder, and more tasks or optimizers may be added to it.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from celo.evaluation.cell_tracker import CellTracker
from celo.evaluation.cluster import run_on_ray
from celo.evaluation.contestants import anywhere
from celo.evaluation.request import Request, default_baselines
from celo.evaluation.resources import Resources
from celo.evaluation.runner import Outcome, run
from celo.evaluation.scores import REFERENCE
from celo.evaluation.settings import Settings
from celo.evaluation.store import CellName, Store
from celo.evaluation.suites import tasks_of
from celo.meta.data.source import DATA_VARIABLE
from celo.meta.runs.signals import StopRequest, stop_on_signals
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with
from celo.scripts.evaluate_progress import Progress

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Train optimizers on tasks and keep what comes out.

    Attributes:
        optimizers: adam or another hand-designed name (all learning rates of the grid), adam@1e-3,
            nadamw-search:N (N random trials), LABEL:CHECKPOINT, or a checkpoint as `celo.load` takes.
        suite: quick (embedded data, minutes), cpu (an evening on two cores), celo17,
            velodrome, or names of tasks separated by commas.
        tasks: names of tasks, instead of a suite.
        out: folder of the results.
        steps: steps of every training.
        seeds: trainings of every configuration.
        seed: of the random keys, and of random search.
        eval_every: steps from one evaluation to the next.
        eval_batches: batches of each split per evaluation.
        grid: learning rates: half_powers (14, 10^-6.5 to 1) or published (15, 1e-7 to 1).
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        skip_missing_data: leave out the tasks whose data are not to be had; the report names them.
        lm_corpus: corpus of the language models on documents, instead of each task's own.
        lm_tokenizer: tokenizer of those on sub-words, instead of one trained on the corpus: a repository on
            the hub, such as google-t5/t5-small, or a file tokenizer.json.
        baselines: where cells of hand-designed optimizers are kept for all evaluations; default
            ~/.cache/celo/baselines, or below CELO_CACHE.
        share_baselines: whether to take cells from there, and to leave some.
        trainings_at_once: the most trainings of a cell that a device does at a time; 0 = one on a CPU,
            elsewhere as many as fit the memory.
        memory_gib: memory per device for them; 0 = most of what is free.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        cluster: none, or ray: a cell at a time on every worker of a Ray cluster.
        ray_address: of a running cluster, "auto" for this machine's; default a new one on this machine.
        cpus_per_cell: CPUs of a cell on the cluster.
        retries: how often a cell is begun again after its worker died.
        print_commands: print a command for every cell, for a job array, and train nothing.
        tracker: none, jsonl or wandb: a run for every finished cell, in the folder's runs/.
        wandb_mode: online, offline or disabled; default the variable WANDB_MODE, then online.
        wandb_project: of wandb.
        wandb_group: of wandb; default the name of the folder.
    """

    optimizers: tuple[str, ...]
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    out: Path = Path("results")
    steps: int = 2000
    seeds: int = 3
    seed: int = 0
    eval_every: int = 10
    eval_batches: int = 5
    grid: str = "half_powers"
    data_dir: Path | None = None
    skip_missing_data: bool = False
    lm_corpus: str | None = None
    lm_tokenizer: str | None = None
    baselines: Path | None = None
    share_baselines: bool = True
    trainings_at_once: int = 0
    memory_gib: float = 0.0
    host_devices: int = 0
    cluster: Literal["none", "ray"] = "none"
    ray_address: str | None = None
    cpus_per_cell: int = 1
    retries: int = 3
    print_commands: bool = False
    tracker: str = "none"
    wandb_mode: Annotated[str | None, tyro.conf.arg(aliases=("--tracker-mode",))] = None
    wandb_project: Annotated[str, tyro.conf.arg(aliases=("--project",))] = "celo"
    wandb_group: Annotated[str, tyro.conf.arg(aliases=("--group",))] = ""

    def request(self) -> Request:
        """What is asked for, in paths that mean the same in any folder.

        Raises:
            ValueError: an unknown name, or a number out of range.
        """
        if self.memory_gib < 0:
            raise ValueError(f"memory_gib is {self.memory_gib}; expected 0 (most of what is free) or more")
        names = ("steps", "seeds", "seed", "eval_every", "eval_batches", "grid")
        baselines = _lasting(self.baselines or default_baselines())
        return Request(
            folder=self.out.absolute(),
            tasks=tasks_of(self.suite, self.tasks),
            optimizers=self.optimizers,
            settings=Settings(**{name: getattr(self, name) for name in names}),
            resources=Resources(self.trainings_at_once, int(self.memory_gib * GIB) or None),
            data_dir=self.data_dir and _lasting(self.data_dir),
            lm_corpus=self.lm_corpus,
            baselines=baselines if self.share_baselines else None,
            lm_tokenizer=self.lm_tokenizer and _lasting_tokenizer(self.lm_tokenizer),
            skip_missing_data=self.skip_missing_data,
        )

    def cell_tracker(self) -> CellTracker:
        """Where finished cells are logged."""
        return CellTracker(
            self.out, self.tracker, self.wandb_mode, self.wandb_project, self.wandb_group or self.out.name
        )

    def commands(self, tasks: Sequence[str]) -> list[str]:
        """A command line for every cell, which does that cell alone into the same folder, wherever it is run.

        Args:
            tasks: names of the tasks.
        """
        data_dir = self.data_dir or os.environ.get(DATA_VARIABLE)
        own = {
            "suite": None,
            "print_commands": False,
            "cluster": "none",
            "out": self.out.absolute(),
            "data_dir": _lasting(Path(data_dir)) if data_dir else None,
            "baselines": self.baselines and _lasting(self.baselines),
            "lm_tokenizer": self.lm_tokenizer and _lasting_tokenizer(self.lm_tokenizer),
        }
        # -P: a folder with a package of that name of its own, as many have, is not in the way.
        return [
            shlex.join([sys.executable, "-P", "-m", "celo.scripts.evaluate", *_arguments(one)])
            for task in tasks
            for optimizer in map(anywhere, self.optimizers)
            for one in [dataclasses.replace(self, **own, tasks=(task,), optimizers=(optimizer,))]
        ]


def _lasting(path: Path) -> Path:
    """A path that means the same in any working folder."""
    return path.expanduser().absolute()


def _lasting_tokenizer(source: str) -> str:
    """A tokenizer that means the same in any working folder: what is not a file is a name on the hub."""
    path = _lasting(Path(source))
    return str(path) if path.is_file() or source.endswith(".json") else source


def _arguments(command: Evaluate) -> list[str]:
    """The arguments that give this command: what is not as by default."""
    arguments: list[str] = []
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if value == field.default:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            arguments += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = all cells are done, 1 = some failed, 128 + n = stopped by signal n."""
    with exit_with():
        command = tyro.cli(Evaluate, args=argv, description=__doc__, prog="celo evaluate")
        request, tracker = command.request(), command.cell_tracker()
        set_up(Devices(command.host_devices))
        if command.print_commands:
            jobs = request.evaluation(partial(print, file=sys.stderr)).declare()
            print("\n".join(command.commands(list(dict.fromkeys(job.name.task for job in jobs)))))
            return 0
        with (
            stop_on_signals() as stop,
            Progress(partial(tracker.track, stopped=lambda: stop.requested)) as progress,
        ):
            outcome = _carry_out(command, request, progress, stop)
        return conclude(outcome, progress.untracked, stop, command.out)


def _carry_out(command: Evaluate, request: Request, progress: Progress, stop: StopRequest) -> Outcome:
    if command.cluster == "none":
        return run(request.evaluation(progress.log), request.resources, progress, lambda: stop.requested)
    return run_on_ray(
        request,
        progress,
        lambda: stop.requested,
        command.ray_address,
        command.cpus_per_cell,
        command.retries,
    )


def conclude(
    outcome: Outcome, untracked: Sequence[tuple[CellName, str]], stop: StopRequest, folder: Path
) -> int:
    """Says what is left and what went wrong, and gives the exit code.

    Args:
        outcome: of the work.
        untracked: cells that a tracker failed on, and why.
        stop: whether a signal stopped the work.
        folder: of the results.
    """
    if not outcome.missing:
        _finished(folder, outcome.left_out)
    else:
        print(f"Left to do ({len(outcome.missing)}):")
        for name in outcome.missing:
            print(f"  {name.words}")
    for name, reason in outcome.failures:
        how = "failed" if name in outcome.missing else "was finished, but after that"
        print(f"error: {name.words} {how}: {reason}", file=sys.stderr)
    for name, reason in untracked:
        print(f"error: {name.words} was finished, but its tracker failed: {reason}", file=sys.stderr)
    if stop.requested and (outcome.missing or untracked):
        print("stopped by a signal; the same command goes on")
        return stop.exit_code
    return 1 if outcome.missing or outcome.failures or untracked else 0


def _finished(folder: Path, left_out: Sequence[str]) -> None:
    """Says that all is done, and what a report of the folder will lack."""
    if left_out:
        tasks = ", ".join(left_out)
        print(f"Left out for want of data, and missing in the report unless finished before: {tasks}")
    print(f"All {'other ' if left_out else ''}cells are done: {folder}. Scores: celo report {folder}")
    if REFERENCE not in [name.optimizer for name in Store(folder).expected]:
        print(
            f"Scores are with respect to {REFERENCE}, which is not among the optimizers of this folder: run "
            f"the same command with --optimizers {REFERENCE}, or the report has none"
        )


if __name__ == "__main__":
    sys.exit(main())
