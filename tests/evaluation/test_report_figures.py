"""Figures of a report, by the objects they are made of: lines, limits, labels, colours; and their files."""

import math
import xml.etree.ElementTree as ET

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from celo.evaluation.report import style
from celo.evaluation.report.figures import (
    intervals,
    meta_loss,
    profiles,
    schedules,
    step_sizes,
    training_curves,
)
from celo.evaluation.scores import NOISE, score_table
from celo.evaluation.statistics import summarise
from celo.meta.full_training import smooth
from tests.evaluation.rows import rows as trainings

ADAM = [[2, 2], [0.4, 0.6], [1, 1]]
LOOK = style.looks({NOISE: False, "sgd": False, "celo": True})


@pytest.fixture(scope="module")
def table():
    rows = [*trainings(ADAM), *trainings(ADAM, optimizer="sgd")]
    return score_table([*rows, *trainings([0.25, 1.0], optimizer="celo", eta=np.linspace(0.1, 1, 40))])


@pytest.fixture(scope="module")
def summaries(table):
    return summarise(table, reps=50)


def curves(table, look=LOOK):
    results = {label: own["task"] for label, own in table.results.items()}
    return training_curves("task", results, table.references.get("task"), look)


def x(line):
    return np.asarray(line.get_xdata())


def y(line):
    return np.asarray(line.get_ydata())


def coloured(axis, colour):
    return [line for line in axis.lines if line.get_color() == colour]


def test_training_curves_are_medians_with_bands_the_target_and_a_name_each(table):
    axis = curves(table).axes[0]
    runs = table.best("task", "celo")
    smoothed = smooth(runs.loss)
    np.testing.assert_allclose(y(coloured(axis, LOOK["celo"].colour)[0]), np.median(smoothed, axis=0))
    band = axis.collections[-1].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.ymin, band.ymax], [smoothed.min(), smoothed.max()])
    assert len(axis.collections) == 3
    assert len(coloured(axis, style.GREY)) == 2  # Adam at its other settings
    assert y(coloured(axis, style.RULE)[0])[0] == table.references["task"].target
    shown = {text.get_text(): text.get_color() for text in axis.texts}
    assert shown == {look.name: look.colour for look in LOOK.values()}
    assert axis.get_ylabel() == "training loss (nats)"


def test_a_seed_that_diverged_is_not_averaged_away():
    table = score_table([*trainings([1.0, 1.0]), *trainings([0.5, math.nan], optimizer="celo")])
    axis = curves(table).axes[0]
    assert "celo (diverged)" in [text.get_text() for text in axis.texts]
    assert np.isfinite(axis.get_ylim()).all()
    assert axis.get_ylim()[1] < 3


def test_long_curves_are_thinned_and_a_wide_range_gets_a_logarithmic_axis():
    table = score_table(
        [*trainings(ADAM, steps=900), *trainings([0.001, 0.002], optimizer="celo", steps=900)]
    )
    axis = curves(table).axes[0]
    line = coloured(axis, style.ADAM)[0]
    assert (len(x(line)), x(line)[0], x(line)[-1]) == (style.MOST_POINTS, 0, 899)
    assert axis.get_yscale() == "log"
    low, high = axis.get_ylim()
    assert 0 < low < smooth(table.results["celo"]["task"].runs.loss).min()
    assert 2.0 < high < 4.0


def test_step_sizes_by_optimizer_and_by_task():
    eta = np.broadcast_to(np.linspace(0.1, 1.0, 40, dtype=np.float32), (2, 40))
    axis = schedules("celo", {"a": eta, "b": eta}).axes[0]
    assert [line.get_label() for line in axis.lines] == ["a", "b"]
    assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 2
    np.testing.assert_allclose(y(axis.lines[0]), eta[0])
    np.testing.assert_allclose(x(axis.lines[0]), np.arange(40) / 40)
    axis = step_sizes("a", {"celo": eta}, LOOK).axes[0]
    assert [text.get_text() for text in axis.texts] == ["celo"]


def test_intervals_have_a_row_each_with_the_number_beside_it(summaries):
    axis = intervals(summaries[0], "iqm", LOOK).axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["Adam*", "sgd", "celo"]
    value = summaries[0].aggregates["celo"]["iqm"]
    assert axis.texts[2].get_text() == f"{value.value:.2f}"
    bars = [line for line in axis.lines if line.get_linewidth() == 7]
    np.testing.assert_allclose(x(bars[2]), [value.low, value.high])


def test_profiles_are_logarithmic_where_one_task_spans_more_than_a_factor_of_ten(summaries):
    axis = profiles(summaries[0], LOOK).axes[0]
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_allclose(y(lines["celo"]), summaries[0].profiles["celo"].share)
    assert axis.get_xscale() == "linear"
    wide = score_table([*trainings([1.0, 1.0]), *trainings([0.001, math.nan], optimizer="celo")])
    summary = summarise(wide, reps=20)[0]
    axis = profiles(summary, LOOK).axes[0]
    assert axis.get_xscale() == "log"
    assert axis.get_xlim()[1] > 1000
    np.testing.assert_allclose(summary.profiles["celo"].share[[0, -1]], [0.5, 0.0])


def test_meta_loss_shows_all_stages_and_the_validations():
    pairs = [(stage, i) for stage in (1, 2) for i in range(1, 11)]
    rows = [{"stage": s, "step": 200 * (s - 1) + 20 * i, "meta_loss": 2.0 / i} for s, i in pairs]
    for row in rows[4::5]:
        row["validation"] = row["meta_loss"] / 2
    axis = meta_loss(rows).axes[0]
    assert [text.get_text() for text in axis.texts] == ["stage 1", "stage 2"]
    assert [list(x(line)) for line in coloured(axis, style.VERMILLION)] == [[100, 200], [300, 400]]
    raw = coloured(axis, style.BLUE)
    assert len(raw) == 4
    np.testing.assert_allclose(y(raw[0]), 2.0 / np.arange(1, 11))
    np.testing.assert_allclose(y(raw[1])[:2], [1.5, (2 + 1 + 2 / 3) / 3])
    assert axis.get_xlim() == (0, 400)
    assert [x(line)[0] for line in coloured(axis, style.RULE)] == [200]  # where stage 2 starts


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: schedules("Celo", {}), "at least one task, got none"),
        (lambda: meta_loss([]), "no meta-loss among the metrics"),
        (lambda: meta_loss([{"step": 1, "validation": 2.0}]), "no meta-loss among the metrics"),
    ],
)
def test_nothing_to_draw_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)), st.floats(0.01, 0.1))
def test_labels_are_never_closer_than_the_gap_and_keep_their_order(wanted, gap):
    places = style.spread(wanted, gap)
    assert places.max() <= 1 + 1e-9
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= gap - 1e-9).all()


def test_files_are_whole_the_same_every_time_and_follow_the_theme(table, tmp_path):
    style.save(curves(table), tmp_path / "a.0")
    style.save(curves(table), tmp_path / "b")
    for kind in ("svg", "png"):
        assert (tmp_path / f"a.0.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / "b.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    light = (tmp_path / "b.svg").read_text()
    found = style.inline(light)
    assert ET.fromstring(found).tag.endswith("svg")
    for colour in style.DARK:
        assert colour.lower() not in found.lower()
    assert "var(--figure-0)" in found
    assert len(found) < len(light)
    assert {style.ADAM, style.GREY, style.INK, style.RULE, style.GRID, *style.OTHERS} <= set(style.DARK)
