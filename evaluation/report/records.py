"""The numbers behind a report as data frames, one row per fact, and the files they are kept in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from celo.evaluation.choice import Result
from celo.evaluation.curves import curve
from celo.evaluation.report.escape import csv_text
from celo.evaluation.results import Runs
from celo.evaluation.scores import NOISE, ScoreTable
from celo.evaluation.statistics import Summary
from celo.evaluation.velo import PERCENTILES
from celo.evaluation.velo import rows as velo_rows


def scores(summaries: Sequence[Summary]) -> pd.DataFrame:
    """Every aggregate of every score, with its interval."""
    return pd.DataFrame(
        {
            "score": summary.score.name,
            "optimizer": label,
            "aggregate": aggregate,
            **estimate._asdict(),
            "tasks": len(summary.tasks),
            "seeds": len(summary.scores[label]),
        }
        for summary in summaries
        for label, own in summary.aggregates.items()
        for aggregate, estimate in {**own, "probability_of_improvement": summary.improvement[label]}.items()
    )


def profiles(summaries: Sequence[Summary]) -> pd.DataFrame:
    """Every point of every performance profile."""
    frames = [
        pd.DataFrame(
            {"score": summary.score.name, "optimizer": label}
            | {name.removesuffix("s"): values for name, values in profile._asdict().items()}
        )
        for summary in summaries
        for label, profile in summary.profiles.items()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def trainings(table: ScoreTable, summaries: Sequence[Summary] = ()) -> pd.DataFrame:
    """Every training at a best setting: its losses, its scores, and whether and when it diverged."""
    found = []
    for label, own in table.results.items():
        for task, result in own.items():
            kinds = {
                f"score_{one.score.name}": one.scores[label][:, one.tasks.index(task)]
                if task in one.tasks
                else np.full(len(result.runs.rows), math.nan)
                for one in summaries
            }
            for i, row in enumerate(_of_best(label, result, table.curve)):
                found.append(row | {name: values[i] for name, values in kinds.items()})
    frame = pd.DataFrame(found)
    return frame.astype({"diverged_at_step": "Int64"}) if found else frame


def times(table: ScoreTable) -> pd.DataFrame:
    """How long the trainings of every optimizer on every task took, and on what; NaN where not measured."""
    found = []
    for label, own in table.results.items():
        for task, result in own.items():
            rows = [row for runs in result.settings for row in runs.rows]
            measured = [1000.0 * row.step_seconds for row in rows if row.step_seconds > 0]
            facts = {
                "task": task,
                "optimizer": label,
                "ms_per_step": float(np.mean(measured)) if measured else math.nan,
                "trainings": len(rows),
                "seconds": sum(row.seconds for row in rows),
                "compile_seconds": max(row.compile_seconds for row in rows),
            }
            names = ("trainings_at_once", "state_bytes", "parameters", "device")
            found.append(facts | {name: getattr(rows[0], name) for name in names})
    return pd.DataFrame(found)


def provenance(table: ScoreTable) -> list[dict[str, Any]]:
    """What every optimizer on every task was trained with, for tables/provenance.json."""
    names = ("task_digest", "optimizer_digest", "spec", "corpus", "vocabulary", "device", "numerics")
    return [
        {"task": task, "optimizer": label}
        | {name: getattr(result.runs.rows[0], name) for name in (*names, "versions", "revision")}
        | {"keys": [row.key for row in result.runs.rows]}
        for label, own in table.results.items()
        for task, result in own.items()
    ]


def results(table: ScoreTable, summaries: Sequence[Summary]) -> dict[str, Any]:
    """All tasks with every setting of Adam and every other optimizer at its best, for results.json."""
    settings = table.requested.settings
    return {
        "provenance": dict(table.requested.provenance),
        "seeds": len(table.seeds),
        "seed": settings.get("seed", 0),
        "curve": table.curve,
        "final_loss_smoothed": table.smoothed,
        "learning_rates": _rates(next(iter(table.results[NOISE].values()), None)),
        "tasks": [_task(table, task) for task in table.all_tasks],
        "aggregates": scores(summaries).to_dict("records"),
    }


def velo(table: ScoreTable) -> pd.DataFrame:
    """VeLO's rows and columns, all digits."""
    return pd.DataFrame(
        {"row": name, "trials": trials, "mean": own.mean, "mean_inverse": own.mean_inverse}
        | {f"percentile_{at}": value for at, value in zip(PERCENTILES, own.percentiles, strict=True)}
        for name, trials, own in velo_rows(table)
    )


def csv_bytes(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as CSV with a header: numbers with all digits, missing ones empty, text that is no formula."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    text = frame.select_dtypes("object").map(
        lambda value: csv_text(value) if isinstance(value, str) else value
    )
    safe = frame.assign(**{str(name): text[name] for name in text})
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _of_best(label: str, result: Result, kind: str) -> list[dict[str, Any]]:
    runs = result.runs
    smoothed = curve(runs, kind).smoothed[:, -1]
    facts = {"settings": len(result.settings), "at_edge": result.edge is not None}
    facts["setting"] = " ".join(f"{name}={value!r}" for name, value in runs.setting.items())
    return [
        {"task": row.task, "optimizer": label, "seed": row.seed, "num_steps": row.steps, **facts}
        | {"final_loss": row.final_loss, "smoothed_loss": float(smoothed[i]), "diverged": row.diverged}
        | {"diverged_at_step": _first_failure(row.loss), "key": row.key}
        | {f"last_{name}": float(row.evaluations[name][-1]) for name in sorted(row.evaluations)}
        for i, row in enumerate(runs.rows)
    ]


def _first_failure(loss: np.ndarray) -> int | None:
    """The step, counted from 1, of the first loss that is not finite; None if all are finite."""
    failed = np.flatnonzero(~np.isfinite(loss))
    return int(failed[0]) + 1 if failed.size else None


def _rates(adam: Result | None) -> list[float]:
    settings = [runs.setting for runs in adam.settings] if adam else []
    return [setting["learning_rate"] for setting in settings if "learning_rate" in setting]


def _task(table: ScoreTable, task: str) -> dict[str, Any]:
    adam = table.results[NOISE].get(task)
    found: dict[str, Any] = {"task": task, "num_steps": table.requested.settings.get("steps")}
    if adam:
        rates = [{**runs.setting, **_numbers(runs)} for runs in adam.settings]
        best = dict(adam.runs.setting)
        found |= {"loss_unit": adam.runs.rows[0].loss_unit, "seeds": len(adam.runs.rows)}
        found["adam"] = {"best_learning_rate": best.get("learning_rate"), "best": best, "rates": rates}
    found["learned"], found["others"] = {}, {}
    ratios = table.scores("final_loss") if task in table.tasks else {}
    for label, own in table.results.items():
        if label == NOISE or task not in own:
            continue
        runs, (of_means, of_ratios) = own[task].runs, table.ratios(task, label)
        column = ratios[label][:, table.tasks.index(task)].tolist() if ratios else []
        found["learned" if runs.rows[0].learned else "others"][label] = _numbers(runs) | {
            "setting": dict(runs.setting),
            "scores": column,
            "score": of_ratios,
            "ratio_of_means": of_means,
            "rates_beaten": table.settings_beaten(task, label),
        }
    return found


def _numbers(runs: Runs) -> dict[str, Any]:
    return {
        "final_loss": runs.mean_final_loss,
        "standard_deviation": runs.spread,
        "final_losses": runs.final_loss.tolist(),
        "diverged": int(runs.diverged.sum()),
    }
