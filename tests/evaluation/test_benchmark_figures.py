"""Figures of an evaluation: what is drawn, in whose colour, and how it follows the theme of the screen."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from celo.evaluation.scoreboard import NOISE, scoreboard
from celo.evaluation.summary import summarise
from hypothesis import given
from hypothesis.extra.numpy import arrays
from tests.evaluation.cells import cell

from celo.evaluation.report import style
from celo.evaluation.report.dark import DARK, adapted
from celo.evaluation.report.looks import looks, spread
from celo.evaluation.report.score_figures import intervals, profiles
from celo.evaluation.report.task_figures import step_sizes, training_curves
from celo.meta.full_training import smooth

ETA = np.broadcast_to(np.linspace(0.1, 1.0, 40, dtype=np.float32), (1, 2, 40))


@pytest.fixture
def board():
    adam = [[2, 2], [0.4, 0.6], [1, 1]]
    return scoreboard(
        [
            *(cell(adam, task) for task in "ab"),
            *(cell(adam, task, "sgd") for task in "ab"),
            *(cell([0.25, 1.0], task, "celo", eta=ETA) for task in "ab"),
        ]
    )


def runs(board, task="a"):
    return {label: own[task] for label, own in board.runs.items()}


def test_adam_is_blue_and_learned_optimizers_come_first_among_the_colours(board):
    found = looks(board)
    assert list(found) == [NOISE, "sgd", "celo"]
    assert [look.colour for look in found.values()] == [style.ADAM, style.LEARNED[1], style.LEARNED[0]]
    assert found[NOISE].name == "Adam*"


def test_paths_in_one_folder_have_different_names_in_figures():
    labels = [f"runs/of/mine/theta_{i}.safetensors" for i in (100, 200)] + ["a/" + "x" * 20, "b/" + "x" * 20]
    cells = [cell([1.0, 1.0], optimizer=label) for label in ("adam", *labels)]
    names = [look.name for look in looks(scoreboard(cells)).values()]
    assert names[1:3] == ["…mine/theta_100", "…mine/theta_200"]
    assert names[3:] == [f"…{'x' * 14} 1", f"…{'x' * 14} 2"]


def test_many_optimizers_differ_in_colour_or_dashes():
    many = [cell([1.0, 1.0], optimizer=f"o{i}") for i in range(15)]
    found = looks(scoreboard([cell([1.0, 1.0]), *many]))
    assert len({(look.colour, look.line) for look in found.values()}) == 16


def test_training_curves_are_medians_with_bands_the_target_and_a_name_each(board):
    look = looks(board)
    (axis,) = training_curves(runs(board), board.references["a"], look).axes
    drawn = [line for line in axis.lines if line.get_color() == look["celo"].colour]
    expected = np.median(smooth(board.runs["celo"]["a"].loss), axis=0)
    np.testing.assert_allclose(np.asarray(drawn[0].get_ydata()), expected)
    assert len(axis.collections) == 3
    rule = [line for line in axis.lines if line.get_color() == style.RULE]
    assert np.asarray(rule[0].get_ydata())[0] == board.references["a"].target
    assert {text.get_text(): text.get_color() for text in axis.texts} == {
        look[label].name: look[label].colour for label in board.labels
    }


def test_a_seed_that_diverged_is_not_averaged_away():
    broken = scoreboard([cell([1.0, 1.0]), cell([0.5, math.nan], optimizer="celo")])
    figure = training_curves(runs(broken, "task"), broken.references["task"], looks(broken))
    assert "celo (diverged)" in [text.get_text() for text in figure.axes[0].texts]
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_step_sizes_are_drawn_of_schedulers_only(board):
    figure = step_sizes(runs(board), looks(board))
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["celo"]
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xdata()), np.arange(40) / 40)
    constant = scoreboard([cell([1.0, 1.0], eta=np.ones((1, 2, 40), np.float32))])
    assert step_sizes(runs(constant, "task"), looks(constant)) is None


def test_intervals_have_a_row_each_with_the_number_beside_it(board):
    summary = summarise(board, reps=50)[0]
    (axis,) = intervals(summary, "iqm", looks(board)).axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["Adam*", "sgd", "celo"]
    value = summary.aggregates["celo"]["iqm"]
    assert axis.texts[2].get_text() == f"{value.value:.2f}"
    bars = [line for line in axis.lines if line.get_linewidth() == 7]
    np.testing.assert_allclose(np.asarray(bars[2].get_xdata()), [value.low, value.high])


def test_without_intervals_the_values_alone_are_drawn():
    one = scoreboard([cell([1.0]), cell([0.5], optimizer="celo")])
    (axis,) = intervals(summarise(one)[0], "iqm", looks(one)).axes
    assert not [line for line in axis.lines if line.get_linewidth() == 7]


def test_profiles_have_a_step_line_per_optimizer(board):
    summary = summarise(board, reps=50)[1]
    figure = profiles(summary, looks(board))
    lines = [line for line in figure.axes[0].lines if line.get_label() in ("Adam*", "sgd", "celo")]
    assert len(lines) == 3
    np.testing.assert_allclose(np.asarray(lines[2].get_ydata()), summary.profiles["celo"].share)
    assert len(figure.legends[0].get_texts()) == 3


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)), st.floats(0.01, 0.1))
def test_labels_are_never_closer_than_the_gap_and_keep_their_order(wanted, gap):
    places = spread(wanted, gap)
    assert places.max() <= 1 + 1e-9
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= gap - 1e-9).all()


def test_every_colour_of_a_figure_has_one_for_dark_screens(board, tmp_path):
    style.save(training_curves(runs(board), None, looks(board)), tmp_path / "x")
    light = (tmp_path / "x.svg").read_text()
    found = adapted(light)
    head, _, drawing = found.partition("</style>")
    for colour, dark in DARK.items():
        assert colour.lower() not in drawing.lower()
        if colour != style.PAPER:
            assert colour.lower() in head
        assert dark in head
    assert "prefers-color-scheme:dark" in head
    assert "var(--c" in drawing
    assert len(found) < len(light) + len(head)


def test_all_colours_of_the_house_are_known_to_the_dark_theme():
    assert {style.ADAM, style.GREY, style.INK, style.RULE, style.GRID, *style.LEARNED} <= set(DARK)
