"""What a reader must know before any number: what is missing, and what may not be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from celo.evaluation.choice import best_rows
from celo.evaluation.curves import ENOUGH, STEPS
from celo.evaluation.envelope import own_corpus, retokenized, substituted
from celo.evaluation.results import Training
from celo.evaluation.scores import NOISE, REFERENCE, ScoreTable
from celo.evaluation.spec import is_optlist
from celo.evaluation.sweep import by_value

FEW_EVALUATIONS = 100  # below, an envelope smoothed by 0.95 over evaluations is mostly its beginning
WIDE = 10.0


def notes(table: ScoreTable) -> list[str]:
    """Sentences about what is missing and what to be careful with; none where all is well."""
    said = _corpora(table) + _missing(table) + _made_differently(table)
    for reason, tasks in by_value(table.unscorable).items():
        said.append(f"Some tasks are not scored, as {reason}: {', '.join(tasks)}.")
    if not table.kinds:
        said.append("No task can be scored: the tables and figures below show the finished trainings.")
    said += _wide(table) + _edges(table) + _few(table) + _envelopes(table) + _diverged(table)
    return said + _listed(table) + _coarse(table)


def wide(table: ScoreTable) -> dict[str, tuple[float, float]]:
    """Scored tasks whose final-loss scores span more than a factor of ten, with the lowest and the highest.

    The seeds of all optimizers count, but for diverged trainings. Such a task, often one whose loss comes
    near zero, may decide a mean over tasks alone.
    """
    if not table.tasks:
        return {}
    scores = np.concatenate(list(table.scores("final_loss").values()))
    found = {}
    for i, task in enumerate(table.tasks):
        positive = scores[:, i][scores[:, i] > 0]
        if positive.size and positive.max() > WIDE * positive.min():
            found[task] = (float(positive.min()), float(positive.max()))
    return found


def setting_words(setting: Mapping[str, float]) -> str:
    """A setting in words; a learning rate alone without its name."""
    if list(setting) == ["learning_rate"]:
        return f"{setting['learning_rate']:.2g}"
    return ", ".join(f"{name}={value:.3g}" for name, value in setting.items())


def _name(label: str) -> str:
    return "Adam" if label == NOISE else label


def _corpora(table: ScoreTable) -> list[str]:
    """A sentence per corpus and tokenizer that are not the published ones."""
    found: dict[str, dict[str, None]] = {}
    for task in table.all_tasks:
        for row in best_rows(table.results, task):
            if substituted(row):
                which = f"{row.corpus} instead of {own_corpus(task)}, tokenizer {row.vocabulary}"
                meaning = "Losses and scores are not those of the published task."
            elif retokenized(row):
                which = f"{row.corpus}, tokenizer {row.vocabulary}"
                meaning = (
                    "The published task reads T5's tokens: losses per token do not compare with published "
                    "ones, and no published envelope serves for VeLO's speedup."
                )
            else:
                continue
            found.setdefault(f"Trained on the corpus {which}: {{}}. {meaning}", {})[task] = None
    return [sentence.replace("{}", ", ".join(tasks)) for sentence, tasks in found.items()]


def _missing(table: ScoreTable) -> list[str]:
    """What is not finished, what was never requested, and the tasks that scores leave out for it."""
    requested = {pair[:2] for pair in table.requested.pairs}
    said = []
    if table.missing:
        pairs = [
            f"{label} on {task} ({count} of {table.requested.count(label)} trainings)"
            for (task, label), count in table.missing.items()
        ]
        said.append(f"Not finished: {'; '.join(pairs)}.")
    never = [
        f"{_name(label)} on {task}"
        for task in table.all_tasks
        for label in table.labels
        if (task, REFERENCE if label == NOISE else label) not in requested
    ]
    if never:
        said.append(f"Never requested: {'; '.join(never)}.")
    said += [
        f"{task} had other data or another definition for {groups}: nothing compares them."
        for task, groups in table.mixed.items()
    ]
    if said:
        left = [task for task in table.all_tasks if task not in table.tasks and task not in table.unscorable]
        kept = f"Scores are over the {len(table.tasks)} of {len(table.all_tasks)} tasks"
        said.append(f"{kept} that every optimizer finished on the same data; left out: {', '.join(left)}.")
    return said


def _made_differently(table: ScoreTable) -> list[str]:
    """A sentence per way in which the rows of a task were made differently, with the tasks."""
    ways: dict[str, Callable[[Training], Iterable[str]]] = {
        "versions of libraries": lambda row: (f"{name} {version}" for name, version in row.versions.items()),
        "git revisions": lambda row: [row.revision or "unknown"],
        "kinds of device": lambda row: [row.device or "unknown"],
        "numerical settings of JAX": lambda row: [row.numerics or "defaults"],
    }
    said = []
    for words, of in ways.items():
        made = {
            task: {frozenset(of(row)) for row in best_rows(table.results, task)} for task in table.all_tasks
        }
        if tasks := [task for task, values in made.items() if len(values) > 1]:
            values = {value for task in tasks for value in made[task]}
            shared = frozenset.intersection(*values)
            shown = sorted(", ".join(sorted(value - shared)) or "others unknown" for value in values)
            said.append(
                f"Trainings with different {words} are compared ({'; '.join(shown)}), on: "
                f"{', '.join(tasks)}. Differences may come from that."
            )
    return said


def _wide(table: ScoreTable) -> list[str]:
    return [
        f"The final-loss scores on {task} span a factor of {high / low:.3g} (from {low:.2g} to {high:.2g}): "
        "aggregates over tasks may rest on this task alone. Read the scores of each task."
        for task, (low, high) in wide(table).items()
    ]


def _edges(table: ScoreTable) -> list[str]:
    """A sentence per optimizer whose best value is at an end of its grid."""
    said = []
    for label, own in table.results.items():
        edges = [(task, *result.edge) for task, result in own.items() if result.edge]
        if edges:
            where = ", ".join(f"{task} ({value:.2g})" for task, _, value in edges)
            said.append(
                f"{_name(label)}: the best {edges[0][1].replace('_', ' ')} is at an end of the grid; a "
                f"better one may lie outside, on: {where}."
            )
    return said


def _few(table: ScoreTable) -> list[str]:
    said = []
    if len(table.seeds) == 1:
        said.append("There is one seed, so there are no intervals to separate chance from effect.")
    if table.kinds and len(table.tasks) == 1:
        said.append(f"There is one scored task, {table.tasks[0]}: aggregates are over its seeds.")
    return said


def _envelopes(table: ScoreTable) -> list[str]:
    """What VeLO's speedup leaves out, and envelopes too coarse or too short to judge the trainings."""
    said = []
    if table.no_envelope:
        reasons = "; ".join(
            f"{reason}: {', '.join(tasks)}" for reason, tasks in by_value(table.no_envelope).items()
        )
        count = len(table.tasks) - len(table.no_envelope)
        over = f"over {count} of the {len(table.tasks)} scored tasks" if count else "not scored"
        said.append(f"VeLO's speedup is {over}; {reasons}.")
    steps, coarse, short = table.requested.settings["steps"], [], []
    for task, one in (table.envelopes or {}).items():
        if task in table.tasks and task not in table.no_envelope:
            if one.evaluations is not None and one.evaluations < FEW_EVALUATIONS:
                coarse.append(f"{task} ({one.evaluations})")
            if one.steps[-1] <= steps:
                short.append(f"{task} ({one.steps[-1]:,.0f} of {steps:,} steps)")
    if coarse:
        said.append(
            f"The envelope of Adam has fewer than {FEW_EVALUATIONS} evaluations, and smoothing leaves it too "
            f"high: VeLO's speedup flatters, on: {', '.join(coarse)}."
        )
    if short:
        said.append(
            "The envelope of Adam is no longer than the trainings, so VeLO's speedup cannot exceed 1, on: "
            f"{', '.join(short)}."
        )
    return said


def _listed(table: ScoreTable) -> list[str]:
    """That OptList was chosen on some of the tasks."""
    requested = table.requested.optimizers
    labels = [one for one in table.labels if one in requested and is_optlist(requested[one].spec)]
    if not labels:
        return []
    return [
        f"{', '.join(labels)}: the published list of settings was ordered by how well they do together on "
        "many tasks, some of them tasks of these suites, so this baseline is tuned on the evaluation."
    ]


def curve_words(table: ScoreTable) -> str:
    """Which curves the speedups read, in a sentence or two; "" where nothing is scored."""
    row = _first_row(table)
    if row is None or not table.kinds:
        return ""
    if table.curve == STEPS:
        said = "Speedups read the loss of every step's batch, smoothed by 0.9 from step to step."
    else:
        said = (
            f"Speedups read the training loss of evaluations, every {row.evaluation_steps[1]:,} steps over "
            f"{row.evaluation_batches} batches and over 10 after the last step, smoothed by 0.9 from one "
            "evaluation to the next, as in the papers."
        )
    return f"{said} The final-loss score compares the last smoothed losses." if table.smoothed else said


def _first_row(table: ScoreTable) -> Training | None:
    return next((result.runs.rows[0] for own in table.results.values() for result in own.values()), None)


def _coarse(table: ScoreTable) -> list[str]:
    """That too few evaluations were smoothed."""
    row = _first_row(table)
    if row is None or table.curve == STEPS or (count := len(row.evaluation_steps)) >= ENOUGH:
        return []
    return [f"Speedups read {count} evaluations only: smoothing leaves mostly the beginning of the curves."]


def _diverged(table: ScoreTable) -> list[str]:
    """A sentence per optimizer with diverged trainings at the setting scored."""
    said = []
    for label, own in table.results.items():
        failed = {task: result.runs for task, result in own.items() if result.runs.diverged.any()}
        if failed:
            where = ", ".join(
                f"{task} ({runs.diverged.sum()} of {len(runs.rows)}"
                + (f" at {setting_words(runs.setting)})" if runs.setting else ")")
                for task, runs in failed.items()
            )
            said.append(f"{label}: trainings diverged, each scored 0, on: {where}.")
    return said
