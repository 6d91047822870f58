"""What a report of an evaluation says, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from celo.evaluation.aggregate import AGGREGATES
from celo.evaluation.report import run_tables, score_tables
from celo.evaluation.report.caveats import caveats
from celo.evaluation.report.document import Block, Folded, Heading, Notice, Pictures, Prose, Tabular
from celo.evaluation.report.drawing import Drawing
from celo.evaluation.scoreboard import NOISE, Scoreboard
from celo.evaluation.summary import Summary
from celo.meta.runs.files import json_bytes, json_ready

# What the interval plots show of every score; the others are in tables.
PLOTTED = ("iqm", "optimality_gap")
COLOURS = "Colours mean the same optimizer in every figure; the dashed line is the best Adam."


class Sources(NamedTuple):
    """What a report was made from and how.

    Attributes:
        reps: bootstrap resamples.
        seed: of the resampling.
        envelopes: where the envelopes of VeLO's speedup are from, in words; "" for none given.
        provenance: what the evaluation was begun with, ready for JSON.
    """

    reps: int
    seed: int
    envelopes: str
    provenance: Mapping[str, Any]


def blocks(
    board: Scoreboard, summaries: Sequence[Summary], drawing: Drawing, sources: Sources
) -> list[Block]:
    """All blocks of a report, in order; it draws the figures on the way.

    Args:
        board: the scores.
        summaries: their aggregates, of every kind of score.
        drawing: draws the figures.
        sources: what it was made from.
    """
    said = caveats(board)
    made: list[Block] = [Notice(tuple(said))] if said else []
    if summaries:
        made += _scores(board, summaries, drawing, sources)
    made += _tasks(board)
    made += [
        Heading("Training curves"),
        Prose(
            "Training loss smoothed by a moving average of coefficient 0.9, at the configuration scored: "
            "median over seeds, band from the lowest seed to the highest. The dashed line is the best Adam's "
            "final smoothed loss, at which both speedups are measured.",
            quiet=True,
        ),
        Pictures(drawing.curves(board)),
    ]
    made += _schedules(board, drawing) + _diverged(board)
    # What differs when the same is done again comes last.
    return made + _runtime(board) + _origin(board, sources)


def _scores(
    board: Scoreboard, summaries: Sequence[Summary], drawing: Drawing, sources: Sources
) -> list[Block]:
    made: list[Block] = [
        Heading("Scores"),
        Tabular(score_tables.overview(board, summaries)),
        *_reading(board, summaries, sources),
        *(Pictures(drawing.intervals(summaries, aggregate)) for aggregate in PLOTTED),
        Prose(COLOURS, quiet=True),
    ]
    for summary in summaries:
        made += [
            Heading(summary.scored.title, 3),
            Prose(summary.scored.meaning, quiet=True),
            Tabular(score_tables.score_table(board, summary)),
        ]
    return [
        *made,
        Heading("Performance profiles"),
        Prose("The share of runs with a score above each threshold; bands are 95% intervals.", quiet=True),
        Pictures(drawing.profiles(summaries)),
    ]


def _reading(board: Scoreboard, summaries: Sequence[Summary], sources: Sources) -> list[Block]:
    """How to read the table, with the numbers of the noise reference."""
    by_name = {summary.scored.name: summary.aggregates[NOISE]["iqm"].value for summary in summaries}
    made = [
        f"The row {NOISE} is the best Adam's own runs scored against their mean. Without noise it would be 1 "
        "by final loss and by both speedups, its optimality gap 0 and its probability to be better 0.5; what "
        "differs from that is noise, and other rows are to be read against it. Here its IQM is "
        f"{by_name['final_loss']:.2f} by final loss, {by_name['speedup']:.2f} by the first crossing and "
        f"{by_name['sustained_speedup']:.2f} sustained.",
        "First crossing is the paper's speedup: the first step at which the smoothed loss touches the "
        "target. It rewards a noisy curve and flatters. Sustained counts from the step after which the curve "
        "stays there; it is never higher, and a run that ends just above the target gets 0, so it is strict.",
        "Adam and the other hand-designed optimizers are shown at the configuration of the lowest mean final "
        "loss, chosen on the task itself, separately for each; learned optimizers are not tuned.",
        f"In brackets: 95% stratified bootstrap intervals ({sources.reps:,} resamples, seed {sources.seed}). "
        "They cover the choice of seeds, not that of tasks, and are too narrow with few seeds.",
    ]
    if board.envelopes is None:
        made.append(
            "VeLO's speedup, the steps that tuned Adam would need, is not among the scores: it needs "
            "`celo report --envelope`, a file of published envelopes of Adam or a folder of longer trainings."
        )
    elif "velo_speedup" in by_name:
        made.append(
            f"Envelopes of Adam for VeLO's speedup: {sources.envelopes}. An envelope is smoothed and has the "
            f"best learning rate at every step, so that by this score the row {NOISE} need not be 1 even "
            "without noise."
        )
    return [Prose(text, quiet=True) for text in made]


def _tasks(board: Scoreboard) -> list[Block]:
    made: list[Block] = [
        Heading("Tasks"),
        Heading("Final training loss", 3),
        Prose(
            "Mean over seeds that did not diverge ± standard deviation, at the configuration scored.",
            quiet=True,
        ),
        Tabular(score_tables.final_losses(board)),
    ]
    for scored in board.scored:
        made += [
            Heading(f"{scored.title} by task", 3),
            Prose("Mean over seeds.", quiet=True),
            Tabular(score_tables.task_scores(board, scored)),
        ]
    if (table := score_tables.held_out(board)) is not None:
        text = "Test loss at the last evaluation, and accuracy where the task has one; mean over seeds."
        made += [Heading("Test split", 3), Prose(text, quiet=True), Tabular(table)]
    text = "Hyperparameters of the lowest final training loss on each task; a lone number is a learning rate."
    made += [Heading("Configurations scored", 3), Prose(text, quiet=True)]
    made.append(Tabular(score_tables.choices(board)))
    if (table := run_tables.data(board)) is not None:
        made += [Heading("Corpora and tokenizers", 3), Tabular(table)]
    return made


def _schedules(board: Scoreboard, drawing: Drawing) -> list[Block]:
    overall = drawing.schedules(board)
    if not overall:
        return []
    text = "The step size that a learned scheduler sets at every step: median over seeds and their range."
    return [
        Heading("Learned schedules"),
        Prose(text, quiet=True),
        Pictures(overall, wide=True),
        Pictures(drawing.task_schedules(board)),
    ]


def _runtime(board: Scoreboard) -> list[Block]:
    table = run_tables.runtime(board)
    if table is None:
        return []
    text = (
        "Milliseconds per training step and their ratio to Adam's. A step is of one training among those "
        "that ran at once on the device, without compilation and evaluations; how many ran at once is in the "
        "list of cells, and on an accelerator differs between an optimizer with a grid and one without."
    )
    return [Heading("Run time"), Prose(text, quiet=True), Tabular(table)]


def _diverged(board: Scoreboard) -> list[Block]:
    table = run_tables.diverged(board)
    text = "No run at a configuration scored diverged." if table is None else "Each of these runs scores 0."
    return [Heading("Diverged runs"), Prose(text, quiet=True), *([] if table is None else [Tabular(table)])]


def _origin(board: Scoreboard, sources: Sources) -> list[Block]:
    made: list[Block] = [Heading("Provenance")]
    if sources.provenance:
        begun = json_bytes(json_ready(sources.provenance)).decode().rstrip()
        made.append(Folded("The evaluation was begun with", begun))
    made += [Folded(title, text) for title, text in run_tables.provenances(board)]
    made.append(Folded("All finished cells", Tabular(run_tables.cells(board))))
    text = (
        "Every number above is in tables/*.csv, every account of a cell in tables/provenance.json. "
        f"Aggregates ({', '.join(AGGREGATES).replace('_', ' ')}) as in Agarwal et al. 2021, scores as in "
        "Moudgil et al. 2025, section 5."
    )
    return [*made, Prose(text, quiet=True)]
