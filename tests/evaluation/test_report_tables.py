"""Tables and data frames of a report, cell by cell, and how they become text."""

import csv
import functools
import io
import math

import numpy as np
import pandas as pd
import pytest

from celo.evaluation.report import records, tables
from celo.evaluation.report.escape import markdown_text
from celo.evaluation.report.table import Cell, Table
from celo.evaluation.scores import NOISE, score_table
from celo.evaluation.statistics import summarise
from tests.evaluation.rows import rows

NAN = math.nan
trainings = functools.partial(rows, step_seconds=0.001, seconds=1.0)


@pytest.fixture(scope="module")
def table():
    """Adam's best final loss is 0.5 on a and 1 on b; celo ends at 0.25 and 1 on a, and diverges once on b."""
    return score_table(
        [
            *trainings([[2, 2], [0.4, 0.6], [1, 1]], "a"),
            *trainings([0.25, 1.0], "a", "celo", step_seconds=0.0042, corpus="lm1b", vocabulary="bytes"),
            *trainings([[3, 3], [2, 2], [1, 1]], "b"),
            *trainings([0.5, NAN], "b", "celo"),
        ]
    )


@pytest.fixture(scope="module")
def summaries(table):
    return summarise(table, reps=50, seed=3)


def keyed(cell):
    """What a page sorts a cell by."""
    assert isinstance(cell, Cell)
    return cell.key


def test_the_score_table_names_both_ratios(table):
    found = tables.score_table(table)
    assert found.header == (
        *(
            "task",
            "optimizer",
            "setting",
            "settings",
            "final loss",
            "test",
            "ratio of means",
            "mean of ratios",
        ),
        *("beats", "diverged, all settings"),
    )
    assert found.rows == (
        # 0.5 / 0.5, and the mean of 0.5 / 0.4 and 0.5 / 0.6
        ("a", NOISE, "0.01", "3", "0.5 ± 0.14", "–", "1.00", "1.04", "–", "0 of 6"),
        # 0.5 / 0.625, and the mean of 0.5 / 0.25 and 0.5 / 1
        ("a", "celo", "–", "1", "0.625 ± 0.53", "–", "0.80", "1.25", "2 of 3", "0 of 2"),
        ("b", NOISE, "0.1 (edge)", "3", "1 ± 0", "–", "1.00", "1.00", "–", "0 of 6"),
        # 1 / infinity, and the mean of 1 / 0.5 and 0
        ("b", "celo", "–", "1", "0.5, 1 diverged", "–", "0.00", "1.00", "0 of 3", "1 of 2"),
    )


def test_aggregates_carry_the_noise_row_first_and_its_reading(table, summaries):
    shown = tables.overview(table, summaries).rows
    assert [row[0] for row in shown] == [NOISE, "celo"]
    assert [row[-1] for row in shown] == ["best of 3", "untuned"]
    assert [row[-2] for row in shown] == ["0 of 4", "1 of 4"]
    found = tables.aggregates(table, summaries[0])
    assert [row[-1] for row in found.rows] == ["best of 3", "untuned"]
    assert found.header[1:6] == ("IQM", "median", "mean", "optimality gap", "P(better than Adam*)")
    assert found.rows[0][5].startswith("0.50 [")
    assert found.rows[1][3].startswith("1.13 [")  # (2 + 0.5 + 2 + 0) / 4
    assert keyed(found.rows[1][3]) == pytest.approx(1.125)


def test_final_losses_and_missing_pairs():
    some = [*trainings([[2, 2], [0.4, 0.6], [1, 1]], "a"), *trainings([1.0, 1.0], "b", "celo")]
    found = tables.final_losses(score_table(some))
    assert found.rows == (
        ("settings", "best of 3", "untuned"),
        ("a", "0.5 ± 0.14", "–"),
        ("b", "–", "1 ± 0"),
    )
    assert [keyed(cell) for cell in found.rows[1]] == ["a", pytest.approx(0.5), -math.inf]


def test_the_test_split_is_shown_where_it_was_evaluated():
    values = {"test_loss": np.full(3, 0.7), "test_accuracy": np.full(3, 0.912)}
    some = [*trainings([1, 1], "a"), *trainings([1, 1], "a", "celo", evaluations=values)]
    assert [row[5] for row in tables.score_table(score_table(some)).rows] == ["–", "0.7, 91.2%"]


def test_run_time_and_its_ratio_to_adam(table):
    found = tables.run_time(records.times(table))
    assert [row[:4] for row in found.rows] == [
        ("a", NOISE, "1.00", "1.00"),
        ("b", NOISE, "1.00", "1.00"),
        ("a", "celo", "4.20", "4.20"),
        ("b", "celo", "1.00", "1.00"),
    ]
    unmeasured = score_table(rows([1, 1]))
    assert tables.run_time(records.times(unmeasured)).rows[0][2:4] == ("–", "–")


def test_diverged_trainings_are_listed_with_the_step(table):
    found = tables.diverged(records.trainings(table))
    assert found is not None
    assert found.rows == (("celo", "b", "1", "", "21"),)
    only_final = trainings([math.inf], optimizer="celo")
    only_final[0].loss[:] = 1.0
    found = tables.diverged(records.trainings(score_table([*trainings([1.0]), *only_final])))
    assert found is not None
    assert found.rows[0][-1] == "in the final loss"
    assert tables.diverged(records.trainings(score_table(trainings([1, 1])))) is None


def test_corpora_and_what_trainings_were_made_with(table):
    found = tables.corpora(table)
    assert found is not None
    assert found.rows == (("a", "lm1b", "bytes"),)
    assert tables.environments(table).rows == (("jax 0.0", "abc", "cpu", "", "16"),)
    assert tables.corpora(score_table(trainings([1, 1]))) is None


def test_text_and_markdown_are_aligned():
    table = Table(("a", "bb"), (("long", "1"), ("x|y", "222")))
    assert table.text().splitlines() == ["a      bb", "----  ---", "long    1", "x|y   222"]
    assert table.markdown().splitlines() == [
        "| a    |  bb |",
        "| ---- | --: |",
        "| long |   1 |",
        r"| x\|y | 222 |",
    ]
    assert Cell("0.5 ± 0.1", 0.5).key == 0.5
    assert Cell("Adam").key == "adam"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((number, number) for number in ("1.01", "0.5 ± 0.1", "-0.5", "+3", "-.5", "1.00 [-1, +2]")),
        *(("1. item", r"1\. item"), ("12)", r"12\)"), ("- item", r"\- item")),
        *(("---", r"\---"), ("===", r"\==="), ("# head", r"\# head"), ("-celo", r"\-celo")),
    ],
)
def test_markdown_leaves_numbers_and_escapes_beginnings_of_lists_and_headings(text, shown):
    assert markdown_text(text) == shown
    assert f"| {shown} |" in Table(("a",), ((text,),)).markdown()


def rows_of(frame):
    return list(csv.DictReader(io.StringIO(records.csv_bytes(frame).decode())))


def test_records_hold_every_digit_and_every_training(table, summaries):
    found = rows_of(records.trainings(table, summaries))
    assert len(found) == 8
    names = ("task", "seed", "diverged_at_step", "score_speedup")
    assert [[row[name] for name in names] for row in found if row["diverged"] == "True"] == [
        ["b", "1", "21", "0.0"]
    ]
    celo = [row for row in found if (row["task"], row["optimizer"]) == ("a", "celo")]
    assert [row["final_loss"] for row in celo] == ["0.25", "1.0"]
    assert [float(row["score_final_loss"]) for row in celo] == pytest.approx([2.0, 0.5])
    adam = next(row for row in found if row["optimizer"] == NOISE)
    assert (adam["setting"], adam["settings"]) == ("learning_rate=0.01", "3")


def test_results_hold_adam_at_every_rate_and_the_others_at_their_best(table, summaries):
    found = records.results(table, summaries)
    assert found["learning_rates"] == [1e-3, 1e-2, 1e-1]
    task = found["tasks"][0]
    assert (task["task"], task["num_steps"], task["seeds"], task["loss_unit"]) == ("a", 40, 2, "nats")
    assert task["adam"]["best_learning_rate"] == 1e-2
    assert [rate["final_loss"] for rate in task["adam"]["rates"]] == pytest.approx([2.0, 0.5, 1.0])
    celo = task["learned"]["celo"]
    assert celo["scores"] == pytest.approx([2.0, 0.5])
    assert (celo["score"], celo["ratio_of_means"]) == (pytest.approx(1.25), pytest.approx(0.8))
    assert celo["rates_beaten"] == 2


def test_missing_numbers_are_empty_and_text_is_no_formula():
    rows = [{"a": NAN, "b": None, "c": 0.1, "d": "=1+1"}]
    assert records.csv_bytes(rows) == b"a,b,c,d\n,,0.1,'=1+1\n"
    assert records.csv_bytes(pd.DataFrame()) == b"\n"
