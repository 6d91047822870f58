"""Train optimizers on tasks and store every training.

`celo evaluate --suite quick --optimizers adam celo --out results/quick` trains every task of the suite with
every optimizer and seed, hand-designed optimizers at every learning rate of the grid; `celo report` turns
the folder into scores. The same command resumes, several may work on one folder, and more tasks or
optimizers may be added to it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from celo.meta.runs.files import check_folder
from celo.scripts import checks

if TYPE_CHECKING:
    from celo.evaluation.sweep import Request

SUITES = tyro.conf.arg(
    metavar="{quick,cpu5,cpu,workloads,celo17,velodrome,velodrome84,velodrome110}|TASK,TASK,..."
)
GONE = {"--memory-gib": "--batch sets how many trainings a device call does at once"}


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Train optimizers on tasks and store every training.

    Attributes:
        optimizers: adam or another hand-designed name (all learning rates of the grid), adam@1e-3,
            nadamw-search:N (N random trials), optlist:N, LABEL:CHECKPOINT, a checkpoint as `celo.load` takes,
            or module:function for your own; each with options in brackets, such as
            'adamw[weight_decay=0|0.01,schedule=cosine,warmup=0.05]'. See `celo list optimizers`.
        suite: quick (embedded data, minutes), cpu5 and cpu (hours on two cores), workloads, celo17,
            velodrome, velodrome84 or velodrome110. See `celo list suites`.
        tasks: names of tasks instead of a suite, or module:object for your own. See `celo list tasks`.
        out: folder of the results.
        steps: steps of every training.
        seeds: trainings of every setting.
        seed: seed of the random keys and of random search.
        eval_every: steps from one evaluation to the next.
        eval_batches: batches of each split per evaluation.
        grid: learning rates: half_powers (14, 10^-6.5 to 1) or published (15, 1e-7 to 1).
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
        skip_missing_data: skip tasks whose data are missing; the report names them.
        lm_corpus: corpus of the language models on documents, instead of each task's own.
        lm_tokenizer: tokenizer of those on sub-words, instead of one trained on the corpus: a repository on
            the hub, such as google-t5/t5-small, or a file tokenizer.json.
        reuse: folders of results whose finished trainings are taken over.
        baselines: folder in which all evaluations share trainings of hand-designed optimizers; default below
            CELO_CACHE, else ~/.cache/celo.
        share_baselines: take trainings from that folder and store them there.
        batch: trainings per device call; 0 = one on a CPU, elsewhere as many as fit the memory.
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        cluster: none, or ray: batches of trainings on every worker of a Ray cluster.
        ray_address: address of a running cluster, "auto" for this machine's; default a new one here.
        cpus_per_job: CPUs of a batch on the cluster.
        retries: how often a batch starts again after its worker died.
        print_commands: print a command for every task and optimizer, for a job array, and train nothing.
        tracker: wandb logs the finished evaluation as one run; none and jsonl store it in the folder alone.
        wandb_mode: mode of wandb; default the variable WANDB_MODE, then online.
        wandb_project: project of wandb.
        wandb_group: group of wandb; default the name of the folder.
    """

    optimizers: tuple[str, ...]
    suite: Annotated[str | None, SUITES] = None
    tasks: tuple[str, ...] = ()
    out: Path = Path("results")
    steps: int = 2000
    seeds: int = 3
    seed: int = 0
    eval_every: int = 10
    eval_batches: int = 5
    grid: Literal["half_powers", "published"] = "half_powers"
    data_dir: Path | None = None
    skip_missing_data: bool = False
    lm_corpus: str | None = None
    lm_tokenizer: str | None = None
    reuse: tuple[Path, ...] = ()
    baselines: Path | None = None
    share_baselines: bool = True
    batch: Annotated[int, tyro.conf.arg(aliases=("--trainings-at-once",))] = 0
    host_devices: int = 0
    cluster: Literal["none", "ray"] = "none"
    ray_address: str | None = None
    cpus_per_job: Annotated[int, tyro.conf.arg(aliases=("--cpus-per-cell",))] = 1
    retries: int = 3
    print_commands: bool = False
    tracker: Literal["none", "jsonl", "wandb"] = "none"
    wandb_mode: Annotated[
        Literal["online", "offline", "disabled"] | None, tyro.conf.arg(aliases=("--tracker-mode",))
    ] = None
    wandb_project: Annotated[str, tyro.conf.arg(aliases=("--project",))] = "celo"
    wandb_group: Annotated[str, tyro.conf.arg(aliases=("--group",))] = ""

    def check(self) -> None:
        """Checks the folders."""
        check_folder(self.out)
        if self.share_baselines and self.baselines is not None:
            check_folder(self.baselines)

    def run(self) -> int:
        """Trains what is missing; 0 = all is done, 1 = something failed, 128 + n = stopped by signal n."""
        from celo.evaluation.cluster import jobs, run_on_ray
        from celo.evaluation.scores import REFERENCE
        from celo.scripts import pipeline
        from celo.scripts.devices import Devices, set_up

        request = self.request()
        set_up(Devices(self.host_devices))
        if self.print_commands:
            log = partial(print, file=sys.stderr)
            print("\n".join(self.command_for(task, text) for task, text in jobs(request, log)))
            return 0
        cluster = {"address": self.ray_address, "cpus": self.cpus_per_job, "retries": self.retries}
        on_ray = partial(run_on_ray, **cluster)
        outcome, code = pipeline.train(request, on_ray if self.cluster == "ray" else pipeline.run)
        if not outcome.missing:
            print(f"All trainings are done: {self.out}. Scores: celo report {self.out}")
            if self.tracker == "wandb":
                self.track(request)
            if REFERENCE not in pipeline.read_requested(request.folder).optimizers:
                print(
                    f"Scores are relative to {REFERENCE}, which this folder lacks: run the same command with "
                    f"--optimizers {REFERENCE}"
                )
        return code

    def request(self) -> Request:
        """The evaluation; ValueError for an unknown name, or a number out of range."""
        from celo.evaluation.suites import tasks_of
        from celo.evaluation.sweep import Request, default_share

        names = {field.name for field in dataclasses.fields(Request)} & vars(self).keys() - {"tasks"}
        same = {name: getattr(self, name) for name in names}
        share = _absolute(self.baselines or default_share()) if self.share_baselines else None
        return Request(_absolute(self.out), tasks_of(self.suite, self.tasks), share=share, **same)

    def track(self, request: Request) -> None:
        """Logs the finished evaluation to wandb."""
        from celo.evaluation.requested import read_requested
        from celo.evaluation.results import read
        from celo.evaluation.scores import score_table
        from celo.evaluation.tracking import track

        rows = read(request.folder, print)
        table = score_table(rows, read_requested(request.folder))
        group = self.wandb_group or request.folder.name
        track(request.folder, table, rows, self.wandb_project, self.wandb_mode, group)

    def command_for(self, task: str, optimizer: str) -> str:
        """A line for a shell in any folder, which trains one optimizer on one task into the same folder."""
        from celo.meta.data.source import DATA_VARIABLE

        data_dir = self.data_dir or os.environ.get(DATA_VARIABLE)
        pair: dict[str, Any] = {"suite": None, "tasks": (task,), "optimizers": (optimizer,)}
        pair |= {"data_dir": Path(data_dir) if data_dir else None, "cluster": "none", "print_commands": False}
        return checks.shell_command("evaluate", checks.options(dataclasses.replace(self, **pair)))


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


main = checks.program(Evaluate, "celo evaluate", __doc__, gone=GONE)

if __name__ == "__main__":
    sys.exit(main())
