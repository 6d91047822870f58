"""Figures, by the objects they are made of: axes, lines, limits, labels; and the files they become."""

import dataclasses
import math
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from celo.evaluation.selection import choose
from celo.evaluation.task_comparison import TaskComparison
from tests.evaluation.outcomes import outcome

from celo.evaluation.report import style
from celo.evaluation.report.curves import loss_curves
from celo.evaluation.report.meta_loss import meta_loss
from celo.evaluation.report.schedule import schedules
from celo.meta.full_training import smooth

ADAM = [[1.9, 1.8], [0.4, 0.6], [1.2, 1.1]]


@pytest.fixture
def two():
    return [
        outcome(ADAM, {"Celo": [0.3, 0.5]}, task="first"),
        outcome(ADAM, {"Celo": [0.001, 0.002]}, task="second", steps=900),
    ]


def x(line):
    return np.asarray(line.get_xdata())


def y(line):
    return np.asarray(line.get_ydata())


def coloured(axis, colour):
    return [line for line in axis.lines if line.get_color() == colour]


def test_a_panel_per_task_with_all_its_lines(two):
    figure = loss_curves(two)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["first", "second"]
    for axis in figure.axes:
        assert len(coloured(axis, style.GREY)) == 2  # the rates that are not the best
        assert len(coloured(axis, style.ADAM)) == 2  # raw and smoothed
        assert len(coloured(axis, style.LEARNED[0])) == 2
        assert len(axis.collections) == 2  # bands
        assert axis.get_xlabel() == "training step"
        assert axis.get_ylabel() == "training loss (nats)"
        assert "$10^{-2}$" in axis.texts[0].get_text()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Celo", "Adam, best of 3 learning rates", "Adam, the other rates"]


def test_lines_are_medians_of_smoothed_losses_and_bands_their_range(two):
    axis = loss_curves(two).axes[0]
    smoothed = smooth(two[0].learned["Celo"].loss)
    line = coloured(axis, style.LEARNED[0])[1]
    np.testing.assert_allclose(y(line), np.median(smoothed, axis=0))
    band = axis.collections[1].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.ymin, band.ymax], [smoothed.min(), smoothed.max()])


def test_long_curves_are_thinned_but_keep_their_ends(two):
    line = coloured(loss_curves(two).axes[1], style.ADAM)[1]
    assert len(x(line)) == style.MOST_POINTS
    assert (x(line)[0], x(line)[-1]) == (0, 899)


def test_a_wide_range_gets_a_logarithmic_axis(two):
    linear, logarithmic = loss_curves(two).axes
    assert (linear.get_yscale(), logarithmic.get_yscale()) == ("linear", "log")
    low, high = logarithmic.get_ylim()
    assert 0 < low < smooth(two[1].learned["Celo"].loss).min()
    assert 2.0 < high < 4.0


def test_a_diverged_curve_does_not_spoil_the_picture():
    broken = outcome([[0.5], [math.nan]], {"Celo": [0.3]})
    broken.adam.loss[1, 0, 20:] = math.nan
    broken.learned["Celo"].loss[0, 30:] = math.inf
    axis = loss_curves([broken]).axes[0]
    assert np.isfinite(axis.get_ylim()).all()
    assert axis.get_ylim()[1] < 3


def test_schedules_have_a_line_per_task(two):
    axis = schedules(two, "Celo").axes[0]
    assert [line.get_label() for line in axis.lines] == ["first", "second"]
    assert len({line.get_color() for line in axis.lines}) == 2
    assert len({line.get_linestyle() for line in axis.lines}) == 2
    np.testing.assert_allclose(y(axis.lines[0]), np.linspace(0.1, 1.0, 40), rtol=1e-6)
    np.testing.assert_allclose(x(axis.lines[0]), np.arange(40) / 40)


def metrics(stages=(1, 2), validated=True):
    rows = []
    for stage in stages:
        for i in range(1, 11):
            step = 200 * (stage - 1) + 20 * i
            rows.append({"stage": stage, "step": step, "meta_loss": 2.0 / i})
            if validated and i % 5 == 0:
                rows[-1]["validation"] = 1.0 / i
    return rows


def test_meta_loss_shows_both_stages_and_the_validations():
    axis = meta_loss(metrics()).axes[0]
    assert [text.get_text() for text in axis.texts] == ["stage 1: update rule", "stage 2: scheduler"]
    markers = coloured(axis, style.VERMILLION)
    assert [list(x(line)) for line in markers] == [[100, 200], [300, 400]]
    raw = coloured(axis, style.BLUE)
    assert len(raw) == 4
    np.testing.assert_allclose(y(raw[0]), 2.0 / np.arange(1, 11))
    np.testing.assert_allclose(y(raw[1])[:2], [1.5, (2 + 1 + 2 / 3) / 3])
    assert axis.get_xlim() == (0, 400)
    assert [x(line)[0] for line in coloured(axis, "#444444")] == [200]  # where stage 2 begins


def test_meta_loss_of_a_run_without_validation_or_second_stage():
    figure = meta_loss(metrics(stages=(1,), validated=False))
    assert len(figure.axes[0].lines) == 2
    assert len(figure.legends[0].get_texts()) == 1


def test_files_are_whole_and_the_same_every_time(two, tmp_path):
    figure = loss_curves(two)
    style.save(figure, tmp_path / "a.0")
    style.save(loss_curves(two), tmp_path / "b")
    assert (tmp_path / "a.0.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert ET.parse(tmp_path / "a.0.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.0.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.0.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.0.png", "a.0.svg", "b.png", "b.svg"]


def test_the_users_settings_stay_as_they_are(two):
    with mpl.rc_context({"axes.labelsize": 33.0}):
        axis = loss_curves(two).axes[0]
        assert mpl.rcParams["axes.labelsize"] == 33.0
    assert axis.xaxis.label.get_fontsize() == 9


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: loss_curves([]), "at least one task, got none"),
        (lambda: schedules([], "Celo"), "at least one task, got none"),
        (lambda: schedules([outcome(ADAM, {"Celo": [1, 1]})], "celo"), "has no 'celo'; it has Celo"),
        (lambda: meta_loss([]), "no meta-loss among the metrics"),
        (lambda: meta_loss([{"step": 1, "validation": 2.0}]), "no meta-loss among the metrics"),
    ],
)
def test_nothing_to_draw_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_step_sizes_that_were_not_kept_are_refused():
    result = outcome(ADAM, {"Celo": [1, 1]})
    without = choose(dataclasses.replace(result.learned["Celo"].cell, eta=None))
    result = TaskComparison(result.adam, {"Celo": without})
    with pytest.raises(ValueError, match="Celo on task has no step sizes"):
        schedules([result], "Celo")
