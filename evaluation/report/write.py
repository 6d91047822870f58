"""A comparison as a folder: numbers for programs, tables for text, pictures, and a page with all of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celo._core.files import write_atomically
from celo.evaluation.comparison import Comparison
from celo.evaluation.report import style
from celo.evaluation.report.curves import loss_curves
from celo.evaluation.report.meta_loss import meta_loss
from celo.evaluation.report.page import Picture, page
from celo.evaluation.report.schedule import schedules
from celo.evaluation.report.table import comparison_table, findings
from celo.evaluation.task_comparison import TaskComparison
from celo.meta.runs import files
from celo.meta.runs.provenance import provenance

RESULTS_FILE = "results.json"
TABLE_FILE = "table.md"
PAGE_FILE = "index.html"


def write_report(
    folder: Path,
    title: str,
    outcomes: Sequence[TaskComparison],
    comparison: Comparison,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes results.json, table.md, the figures and index.html, each file as a whole.

    Args:
        folder: where; created if it is not there.
        title: heading of the page.
        outcomes: of each task, with the same labels of learned optimizers.
        comparison: what they were made with.
        metrics: rows of the meta-training's metrics; without any there is no picture of it.

    Returns:
        The page.

    Raises:
        ValueError: if there is no outcome.
    """
    table = comparison_table(outcomes)
    folder.mkdir(parents=True, exist_ok=True)
    made_with = provenance()
    results = {
        "provenance": made_with,
        "seeds": comparison.seeds,
        "seed": comparison.seed,
        "learning_rates": list(comparison.learning_rates),
        "tasks": [outcome.summary() for outcome in outcomes],
    }
    write_atomically(folder / RESULTS_FILE, files.json_bytes(files.json_ready(results)))
    write_atomically(folder / TABLE_FILE, (table.markdown() + "\n").encode())
    pictures = _pictures(folder, outcomes, metrics)
    said = [sentence for label in outcomes[0].learned for sentence in findings(outcomes, label)]
    content = page(title, table.html(), said, _notes(comparison, made_with), pictures)
    write_atomically(folder / PAGE_FILE, content.encode())
    return folder / PAGE_FILE


def _pictures(
    folder: Path, outcomes: Sequence[TaskComparison], metrics: Sequence[Mapping[str, Any]]
) -> list[Picture]:
    """Draws and writes the figures."""
    made = [
        (
            "loss_curves",
            loss_curves(outcomes),
            "Loss curves",
            "Training loss of learned optimizers, of Adam at its best rate, and of Adam at the others.",
        )
    ]
    for number, label in enumerate(outcomes[0].learned):
        if _has_schedule(outcomes, label):
            name = "schedule" if len(outcomes[0].learned) == 1 else f"schedule_{number + 1}"
            caption = (
                f"The step size that {label} chooses at every step, from the loss and the progress alone."
            )
            made.append((name, schedules(outcomes, label), f"Learned schedule of {label}", caption))
    if metrics:
        caption = (
            "The meta-loss is the mean loss over stretches of augmented inner trainings, the meta-validation "
            "that over the last tenth of whole trainings without augmentation."
        )
        made.append(("meta_loss", meta_loss(metrics), "Meta-training", caption))
    for name, figure, _, _ in made:
        style.save(figure, folder / name)
    return [Picture(folder / f"{name}.svg", title, caption) for name, _, title, caption in made]


def _has_schedule(outcomes: Sequence[TaskComparison], label: str) -> bool:
    """Whether a learned optimizer sets step sizes: without a scheduler they are all 1."""
    etas = [outcome.learned[label].eta for outcome in outcomes]
    return any(eta is not None and bool((eta != 1).any()) for eta in etas)


def _notes(comparison: Comparison, made_with: Mapping[str, Any]) -> list[str]:
    low, high = min(comparison.learning_rates), max(comparison.learning_rates)
    revision = (made_with["git"] or {}).get("revision")
    versions = ", ".join(f"{name} {version}" for name, version in made_with["versions"].items())
    devices = made_with["devices"]
    return [
        f"Loss: mean training loss of ten batches after the last step, mean over {comparison.seeds} seeds ± "
        "standard deviation. Score: Adam's loss over the learned optimizer's, mean over seeds; above 1 is "
        f"better than Adam at the best of {len(comparison.learning_rates)} constant learning rates between "
        f"{low:.2g} and {high:.2g}, chosen on the same problem. Beats: how many of those rates end higher. "
        "Diverged: trainings of Adam + of the learned optimizer.",
        f"Made with {versions} on {devices['count']} {devices['platform']} device(s), {platform.system()}"
        + (f", revision {revision[:12]}" if revision else "")
        + ".",
    ]
