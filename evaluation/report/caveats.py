"""What a reader must know before any number: holes, edges of grids, divergence, few seeds."""

from __future__ import annotations

from evaluation.report.score_tables import configuration_words
from evaluation.scoreboard import NOISE, Scoreboard


def caveats(board: Scoreboard) -> list[str]:
    """Sentences about what is missing and what to be careful with; none where all is well."""
    said = board.coverage.sentences()
    if board.unscorable:
        said.append(
            "Adam diverged on some seed with every learning rate, so there is nothing to score against, and "
            f"no optimizer is scored, on: {', '.join(board.unscorable)}."
        )
    if not board.scored:
        said.append("There is no task to score: the tables and figures below show what is finished.")
    said += _edges(board)
    said += _few(board)
    said += _partial(board)
    return said + _failures(board)


def _edges(board: Scoreboard) -> list[str]:
    """One sentence per optimizer whose best value is at an end of its grid."""
    said = []
    for label, own in board.runs.items():
        edges = [(task, *run.edge) for task, run in own.items() if run.edge]
        if edges:
            where = ", ".join(f"{task} ({value:.2g})" for task, _, value in edges)
            said.append(
                f"{'Adam' if label == NOISE else label}: the best {edges[0][1].replace('_', ' ')} is at an "
                f"end of the grid, so a better one may lie outside it, on: {where}."
            )
    return said


def _few(board: Scoreboard) -> list[str]:
    """What one seed or one task cannot tell."""
    said = []
    if len(board.seeds) == 1:
        said.append("There is one seed, so there are no intervals: nothing tells how much is chance.")
    if board.scored and len(board.tasks) == 1:
        said.append(
            f"There is one scored task, {board.tasks[0]}; what is called an aggregate is over its seeds."
        )
    return said


def _partial(board: Scoreboard) -> list[str]:
    """Scores that are over fewer tasks than the others."""
    return [
        f"{scored.title} is over {len(scored.tasks)} of the {len(board.tasks)} scored tasks; there is no "
        f"envelope of Adam for: {', '.join(task for task in board.tasks if task not in scored.tasks)}."
        for scored in board.scored
        if scored.tasks != board.tasks
    ]


def _failures(board: Scoreboard) -> list[str]:
    """One sentence per optimizer with diverged runs at the configuration scored."""
    said = []
    for label, own in board.runs.items():
        failed = {task: run for task, run in own.items() if run.diverged.any()}
        if failed:
            where = ", ".join(
                f"{task} ({run.diverged.sum()} of {len(run.diverged)}"
                + (f" at {configuration_words(run)})" if run.configuration else ")")
                for task, run in failed.items()
            )
            said.append(f"{label}: runs diverged, each scored 0, on: {where}.")
    return said
