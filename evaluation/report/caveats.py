"""What a reader must know before any number: other corpora, holes, edges of grids, divergence, few seeds."""

from __future__ import annotations

from collections.abc import Mapping

from celo.evaluation.corpora import Corpus, corpus_of
from celo.evaluation.coverage import told_apart
from celo.evaluation.report.score_tables import configuration_words, finished_tasks
from celo.evaluation.scoreboard import NOISE, Scoreboard

_OTHER_CORPUS = "Losses, and scores on it, are not those of the published task."
_OTHER_TOKENIZER = (
    "The published task reads T5's, so that losses, which are per token, do not compare with published ones, "
    "and no published envelope serves for VeLO's speedup."
)
FEW_EVALUATIONS = 100  # below, an envelope smoothed by 0.95 over evaluations is mostly its beginning


def caveats(board: Scoreboard) -> list[str]:
    """Sentences about what is missing and what to be careful with; none where all is well."""
    said = _corpora(board) + board.coverage.sentences() + _code(board)
    for reason, tasks in _by_reason(board.unscorable):
        said.append(f"No optimizer is scored on some tasks: {reason}: {', '.join(tasks)}.")
    if not board.scored:
        said.append("There is no task to score: the tables and figures below show what is finished.")
    said += _edges(board)
    said += _few(board)
    said += _left_out(board) + _weak_envelopes(board)
    return said + _failures(board)


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The tasks of every reason, from the reason of every task."""
    found: dict[str, list[str]] = {}
    for task, reason in reasons.items():
        found.setdefault(reason, []).append(task)
    return list(found.items())


def _corpora(board: Scoreboard) -> list[str]:
    """One sentence per corpus and tokenizer that are not the published ones of tasks trained with them."""
    found: dict[Corpus, list[str]] = {}
    for task in finished_tasks(board):
        corpora = {corpus_of(own[task].cell): None for own in board.runs.values() if task in own}
        for corpus in corpora:
            if corpus is not None and (corpus.substituted or corpus.retokenized):
                found.setdefault(corpus, []).append(task)
    said = []
    for corpus, tasks in found.items():
        instead = f" instead of {corpus.own}" if corpus.substituted else ""
        said.append(
            f"{', '.join(tasks)} {'was' if len(tasks) == 1 else 'were'} trained on the corpus {corpus.name}"
            f"{instead} with the tokenizer: {corpus.tokenizer}. "
            f"{_OTHER_CORPUS if corpus.substituted else _OTHER_TOKENIZER}"
        )
    return said


def _code(board: Scoreboard) -> list[str]:
    """One sentence per task whose cells were not made with the same code on the same kind of device."""
    said = []
    for task in finished_tasks(board):
        cells = [own[task].cell for own in board.runs.values() if task in own]
        if groups := told_apart((cell.optimizer, cell.code_digest) for cell in cells):
            said.append(
                f"{task} was trained with other code, versions of libraries or kind of device for {groups}: "
                "differences between them may come from that; to do the evaluation again makes them equal."
            )
    return said


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


def _left_out(board: Scoreboard) -> list[str]:
    """The tasks that VeLO's speedup leaves out although envelopes were given, by reason."""
    if not board.without_envelope:
        return []
    by_reason = _by_reason(board.without_envelope)
    reasons = "; ".join(f"{reason}: {', '.join(tasks)}" for reason, tasks in by_reason)
    count = len(board.tasks) - len(board.without_envelope)
    if count == 0:
        return [f"VeLO's speedup is not scored, although envelopes were given; {reasons}."]
    return [f"VeLO's speedup is over {count} of the {len(board.tasks)} scored tasks; {reasons}."]


def _weak_envelopes(board: Scoreboard) -> list[str]:
    """What envelopes cannot tell that are coarse, or no longer than the runs they are to judge."""
    known = {
        task: envelope
        for task, envelope in (board.envelopes or {}).items()
        if task in board.tasks and task not in board.without_envelope
    }
    coarse = [
        f"{task} ({envelope.evaluations})"
        for task, envelope in known.items()
        if envelope.evaluations is not None and envelope.evaluations < FEW_EVALUATIONS
    ]
    short = [
        f"{task} ({envelope.steps[-1]:,.0f} of {board.references[task].num_steps:,} steps)"
        for task, envelope in known.items()
        if envelope.steps[-1] <= board.references[task].num_steps
    ]
    said = []
    if coarse:
        said.append(
            f"The envelope of Adam is made of fewer than {FEW_EVALUATIONS} evaluations, which smoothing over "
            f"evaluations leaves too high, so that VeLO's speedup flatters, on: {', '.join(coarse)}."
        )
    if short:
        said.append(
            "The envelope of Adam is no longer than the runs, so that VeLO's speedup cannot be above 1, on: "
            f"{', '.join(short)}."
        )
    return said


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
