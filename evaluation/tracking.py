"""Logs a finished evaluation to Weights & Biases: one run with a table of rows and curves."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from celo.evaluation.results import Training
from celo.evaluation.scores import NOISE, REFERENCE, ScoreTable

_COLUMNS = ("task", "optimizer", "learned", "seed", "steps", "final_loss", "diverged", "step_seconds")


def track(
    folder: Path,
    table: ScoreTable,
    rows: list[Training],
    project: str = "celo",
    mode: str | None = None,
    group: str = "",
) -> None:
    """Log an evaluation as one run named like its folder, or log it anew to the same run.

    The run has the settings as config, the table ``trainings``, the curves ``TASK/LABEL/NAME`` of the best
    setting (mean over seeds) against ``step``, and the mean scores ``score/NAME/LABEL`` in its summary. A
    ``mode`` is online, offline or disabled; None = the variable WANDB_MODE, then online.

    Raises:
        ModuleNotFoundError: wandb is not installed.
    """
    try:
        import wandb as imported
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("wandb is needed: pip install 'celo[train]'", name=error.name) from error
    wandb: Any = imported  # its annotations are stricter than its behaviour
    folder = folder.absolute()
    run = wandb.init(
        project=project,
        mode=mode,
        group=group or None,
        job_type="evaluation",
        name=folder.name,
        id=hashlib.sha256(str(folder).encode()).hexdigest()[:16],
        resume="allow",
        dir=folder,
        config={**table.requested.settings, "optimizers": list(table.requested.optimizers)},
        settings=wandb.Settings(silent=True, console="off"),
    )
    with run:
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        names = [*_COLUMNS, "device", "setting"]
        values = [[*(getattr(row, name) for name in names[:-1]), str(dict(row.setting))] for row in rows]
        run.log({"trainings": wandb.Table(columns=names, data=values)})
        for label, own in table.results.items():
            for task, result in own.items():
                _log_curves(run, f"{task}/{REFERENCE if label == NOISE else label}", result.runs.rows)
        for kind in table.kinds:
            for label, scores in table.scores(kind.name).items():
                run.summary[f"score/{kind.name}/{label}"] = float(scores.mean())


def _log_curves(run: Any, name: str, rows: tuple[Training, ...]) -> None:
    """Log the evaluations of some seeds, mean over seeds."""
    curves = {one: np.mean([row.evaluations[one] for row in rows], axis=0) for one in rows[0].evaluations}
    for i, step in enumerate(rows[0].evaluation_steps.tolist()):
        run.log({"step": step, **{f"{name}/{one}": float(curve[i]) for one, curve in curves.items()}})
