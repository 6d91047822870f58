"""The figures of a report: drawn once, written as SVG and PNG, and handed on as pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from celo.evaluation.cell_name import slug
from celo.evaluation.report import style
from celo.evaluation.report.looks import Look
from celo.evaluation.report.page import Picture
from celo.evaluation.report.schedule import schedule_lines
from celo.evaluation.report.score_figures import TITLES, intervals, profiles
from celo.evaluation.report.score_tables import finished_tasks
from celo.evaluation.report.task_figures import scheduled, step_sizes, training_curves
from celo.evaluation.scoreboard import Scoreboard
from celo.evaluation.selection import Chosen
from celo.evaluation.summary import Summary


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws into a folder.

    Attributes:
        folder: where the files go; it exists.
        look: of every optimizer.
        log: gets a line before every kind of figure.
    """

    folder: Path
    look: Mapping[str, Look]
    log: Callable[[str], None] = lambda line: None

    def intervals(self, summaries: Sequence[Summary], aggregate: str) -> tuple[Picture, ...]:
        """One aggregate of every score with intervals."""
        self.log(f"figures of the {TITLES[aggregate]}")
        return tuple(
            self._saved(
                f"interval_{summary.scored.name}_{aggregate}",
                intervals(summary, aggregate, self.look),
                f"{TITLES[aggregate]} of the {summary.scored.title} with 95% intervals, by optimizer",
            )
            for summary in summaries
        )

    def profiles(self, summaries: Sequence[Summary]) -> tuple[Picture, ...]:
        """Performance profiles of every score."""
        return tuple(
            self._saved(
                f"profile_{summary.scored.name}",
                profiles(summary, self.look),
                f"Performance profile of the {summary.scored.title}, with 95% bands",
            )
            for summary in summaries
        )

    def curves(self, board: Scoreboard) -> tuple[Picture, ...]:
        """Training curves of every task with any finished cell."""
        self.log("training curves")
        return tuple(
            self._saved(
                f"curves_{task}",
                training_curves(_runs(board, task), board.references.get(task), self.look),
                f"Training loss of every optimizer on {task}",
            )
            for task in finished_tasks(board)
        )

    def schedules(self, board: Scoreboard) -> tuple[Picture, ...]:
        """For every optimizer with a scheduler, its step sizes on all tasks."""
        made = []
        for label, own in board.runs.items():
            etas = {task: eta for task, run in own.items() if (eta := scheduled(run)) is not None}
            if etas:
                caption = f"Step sizes that {label} sets on every task"
                made.append(self._saved(f"schedule_{label}", schedule_lines(etas, label), caption))
        return tuple(made)

    def task_schedules(self, board: Scoreboard) -> tuple[Picture, ...]:
        """For every task, the step sizes that all learned schedulers set."""
        self.log("learned schedules")
        drawn = [(task, step_sizes(_runs(board, task), self.look)) for task in finished_tasks(board)]
        return tuple(
            self._saved(f"step_size_{task}", figure, f"Step sizes of learned schedulers on {task}")
            for task, figure in drawn
            if figure is not None
        )

    def _saved(self, name: str, figure: Figure, caption: str) -> Picture:
        stem = slug(name)  # different for different labels
        style.save(figure, self.folder / stem)
        return Picture(self.folder / f"{stem}.svg", caption, caption)


def _runs(board: Scoreboard, task: str) -> dict[str, Chosen]:
    return {label: own[task] for label, own in board.runs.items() if task in own}
