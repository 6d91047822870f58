"""Tables of an evaluation, cell by cell, their sorting keys, and the caveats in words."""

import csv
import io
import math

import numpy as np
import pytest
from celo.evaluation.scoreboard import NOISE, scoreboard
from celo.evaluation.summary import summarise, thresholds
from tests.evaluation.cells import cell

from celo.evaluation.envelope import Envelope
from celo.evaluation.report import records, run_tables, score_tables
from celo.evaluation.report.caveats import caveats

NAN = math.nan


@pytest.fixture
def board():
    return scoreboard(
        [
            cell([[2, 2], [0.4, 0.6], [1, 1]], "a"),
            cell([0.25, 1.0], "a", "celo", info={"seconds_per_step": 0.0042, "data": {"corpus": "lm1b"}}),
            cell([[3, 3], [2, 2], [1, 1]], "b"),
            cell([0.5, NAN], "b", "celo"),
        ]
    )


def test_final_losses_with_deviation_and_divergence(board):
    table = score_tables.final_losses(board)
    assert table.header == ("task", "steps", NOISE, "celo")
    assert table.rows[0] == ("a", "40", "0.5 ± 0.14", "0.625 ± 0.53")
    assert table.rows[1] == ("b", "40", "1 ± 0", "0.5, 1 diverged")
    assert table.keys[1] == ("b", 40, 1.0, 0.5)


def test_scores_by_task_are_means_over_seeds_with_diverged_runs_at_0(board):
    table = score_tables.task_scores(board, board.scored[0])
    assert table.rows == (("a", "1.04", "1.25"), ("b", "1.00", "1.00"))


def test_overview_and_score_table_carry_the_noise_row_first(board):
    summaries = summarise(board, reps=50)
    rows = score_tables.overview(board, summaries).rows
    assert [row[0] for row in rows] == [NOISE, "celo"]
    assert [row[-1] for row in rows] == ["best of 3", "untuned"]
    assert [row[-2] for row in rows] == ["0 of 4", "1 of 4"]
    table = score_tables.score_table(board, summaries[0])
    assert table.header[1:6] == ("IQM", "median", "mean", "optimality gap", "P(better than Adam*)")
    assert table.rows[0][5].startswith("0.50 [")
    assert table.rows[1][3].startswith("1.13 [")  # (2 + 0.5 + 2 + 0) / 4
    assert table.keys[1][3] == pytest.approx(1.125)


def test_choices_tell_the_edge(board):
    table = score_tables.choices(board)
    assert table.header == ("task", NOISE)
    assert table.rows == (("a", "0.01"), ("b", "0.1 (edge)"))


def test_the_test_split_is_shown_where_it_was_evaluated(board):
    assert score_tables.held_out(board) is None
    values = {"test_loss": np.full((1, 2, 3), 0.7), "test_accuracy": np.full((1, 2, 3), 0.912)}
    one = scoreboard([cell([1, 1], "a", "celo", evaluations=values), cell([1, 1], "a")])
    table = score_tables.held_out(one)
    assert table is not None
    assert table.rows == (("a", "–", "0.7, 91.2%"),)


def test_run_time_and_its_ratio_to_adam(board):
    table = run_tables.runtime(board)
    assert table is not None
    assert table.header == ("task", "Adam", "celo", "× Adam")
    assert table.rows == (("a", "1.00", "4.20", "4.20"), ("b", "1.00", "1.00", "1.00"))
    silent = scoreboard([cell([1, 1], info={})])
    assert run_tables.runtime(silent) is None


def test_steps_too_quick_to_be_timed_have_no_run_time():
    adam, celo = cell([1, 1], info={"seconds_per_step": 0.0}), cell([1, 1], optimizer="celo")
    table = run_tables.runtime(scoreboard([adam, celo]))
    assert table is not None
    assert table.rows == (("task", "–", "1.00", "–"),)
    assert run_tables.runtime(scoreboard([adam])) is None


def test_diverged_runs_are_listed_with_the_step(board):
    table = run_tables.diverged(board)
    assert table is not None
    assert table.rows == (("celo", "b", "1", "–", "21"),)
    only_final = cell([1.0], final_loss=np.array([[np.inf]], np.float32))
    table = run_tables.diverged(scoreboard([only_final]))
    assert table is not None
    assert table.rows[0][-1] == "in the final loss"
    assert run_tables.diverged(scoreboard([cell([1, 1])])) is None


def test_data_and_provenance_are_told_once(board):
    table = run_tables.data(board)
    assert table is not None
    assert table.rows == (("a", "corpus: lm1b"),)
    told = run_tables.provenances(board)
    assert [title for title, _ in told] == ["3 cells made with", "1 cell made with"]
    assert '"jax": "0.0"' in told[0][1]


def test_cells_tell_how_many_trainings_ran_at_once():
    info = {"trainings_at_once": 6, "parameters": 1234, "seconds": 2.5}
    table = run_tables.cells(scoreboard([cell([1.0, 1.0], info=info), cell([1.0, 1.0], "b", info={})]))
    assert table.header[3:] == ("configurations", "at once", "parameters", "seconds")
    assert [row[3:] for row in table.rows] == [("1", "6", "1234", "2.5"), ("1", "–", "–", "–")]


def test_caveats_name_edges_and_divergence(board):
    said = caveats(board)
    assert said == [
        "Adam: the best learning rate is at an end of the grid, so a better one may lie outside it, "
        "on: b (0.1).",
        "celo: runs diverged, each scored 0, on: b (1 of 2).",
    ]


def test_caveats_about_one_seed_and_one_task():
    said = caveats(scoreboard([cell([1.0], "a"), cell([1.0], "a", "celo")]))
    assert "There is one seed, so there are no intervals" in said[0]
    assert "There is one scored task, a;" in said[1]
    summary = summarise(scoreboard([cell([1.0], "a"), cell([1.0], "a", "celo")]))[0]
    table = score_tables.score_table(scoreboard([cell([1.0], "a"), cell([1.0], "a", "celo")]), summary)
    assert table.rows[1][1:5] == ("1.00", "1.00", "1.00", "0.00")


def test_caveats_where_nothing_can_be_scored():
    hopeless = scoreboard([cell([[NAN, 1]] * 3, "a"), cell([1, 1], "a", "celo")])
    said = " ".join(caveats(hopeless))
    assert "Adam diverged on some seed with every learning rate" in said
    assert "There is no task to score" in said


LM = "TransformerLM_LM1B_MultiRuntime_0"
FITTED = (
    "byte-pair encoding of 32,100 ids, 9 of them in use, trained on at most 9 documents of its train split"
)


@pytest.mark.parametrize(
    ("note", "beginning", "end"),
    [
        (
            f"wikitext2_valid (x); {FITTED}",
            f"{LM} was trained on the corpus wikitext2_valid instead of lm1b",
            "",
        ),
        (
            f"lm1b (x); {FITTED}",
            f"{LM} was trained on the corpus lm1b with the tokenizer: byte-pair",
            "no published envelope serves for VeLO's speedup.",
        ),
        (
            "lm1b (x); tokenizer of a file tokenizer.json (SHA-256 0a) of 32,100 ids",
            f"{LM} was trained on the corpus lm1b with the tokenizer: tokenizer of a file",
            "no published envelope serves for VeLO's speedup.",
        ),
        ("lm1b (x); published tokenizer google-t5/t5-small", "", ""),
    ],
)
def test_caveats_begin_with_corpora_and_tokenizers_that_are_not_the_published_ones(note, beginning, end):
    cells = [cell([1.0, 1.0], LM, label, info={"data": note}) for label in ("adam", "celo", "star")]
    said = caveats(scoreboard(cells[:2], [(LM, "star")]))
    told = [sentence for sentence in said if "trained on the corpus" in sentence]
    assert told == (said[:1] if beginning else [])
    assert all(sentence.startswith(beginning) and sentence.endswith(end) for sentence in told)


def test_caveats_tell_cells_of_a_task_made_with_other_code():
    def said(*digests):
        labels = ("adam", "celo", "star")
        made = zip(labels, digests, strict=True)
        cells = [cell([1.0, 1.0], "a", label, code_digest=digest) for label, digest in made]
        return [sentence for sentence in caveats(scoreboard(cells)) if "other code" in sentence]

    assert said("x", "x", None) == []
    assert "a was trained with other code" in said("x", "y", "x")[0]
    assert "for adam, star than for celo:" in said("x", "y", "x")[0]


def envelope(horizon, evaluations=None):
    return Envelope(np.array([0.0, horizon]), np.array([2.0, 0.0]), evaluations)


@pytest.mark.parametrize(
    ("envelopes", "said"),
    [
        (None, []),
        ({"a": envelope(41.0), "b": envelope(41.0)}, []),
        ({"a": envelope(41.0, 100), "b": envelope(41.0)}, []),
        ({"a": envelope(41.0)}, ["over 1 of the 2 scored tasks; there is no envelope of Adam for: b."]),
        ({}, ["is not scored, although envelopes were given; there is no envelope of Adam for: a, b."]),
        (
            {"a": envelope(40.0, 99), "b": envelope(41.0, 7)},
            ["fewer than 100 evaluations", "cannot be above 1, on: a (40 of 40 steps)."],
        ),
    ],
)
def test_caveats_about_envelopes(board, envelopes, said):
    cells = [run.cell for own in board.runs.values() for run in own.values()]
    found = [one for one in caveats(scoreboard(cells, envelopes=envelopes)) if "VeLO" in one]
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_profiles_are_evaluated_past_95_percent_of_the_scores(board):
    for scored in board.scored:
        grid = thresholds(scored)
        pooled = np.concatenate([scores.ravel() for scores in scored.scores.values()])
        assert grid[0] == 0
        assert np.mean(pooled <= grid[-1]) >= 0.95
        assert grid[-1] >= 1.25


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_records_hold_every_digit_and_every_run(board):
    runs = rows_of(records.csv_bytes(records.runs(board)))
    assert len(runs) == 8
    diverged = [row for row in runs if row["diverged"] == "True"]
    assert [
        (row["task"], row["seed"], row["diverged_at_step"], row["score_speedup"]) for row in diverged
    ] == [("b", "1", "21", "0.0")]
    celo = [row for row in runs if (row["task"], row["optimizer"]) == ("a", "celo")]
    assert [row["final_loss"] for row in celo] == ["0.25", "1.0"]
    assert [float(row["score_final_loss"]) for row in celo] == pytest.approx([2.0, 0.5])


def test_records_of_scores_are_the_estimates(board):
    summaries = summarise(board, reps=50, seed=3)
    rows = rows_of(records.csv_bytes(records.scores(summaries)))
    found = {(row["score"], row["optimizer"], row["aggregate"]): row for row in rows}
    estimate = summaries[1].aggregates["celo"]["iqm"]
    row = found["speedup", "celo", "iqm"]
    assert (float(row["value"]), float(row["low"]), float(row["high"])) == tuple(estimate)
    assert len(rows) == 3 * 2 * 5
    profiles = rows_of(records.csv_bytes(records.profiles(summaries)))
    assert len(profiles) == 3 * 2 * 201


def test_what_differs_when_runs_are_done_again_is_in_a_table_of_its_own(board):
    assert not {"ms_per_step", *records.TIMES} & set(rows_of(records.csv_bytes(records.runs(board)))[0])
    times = rows_of(records.csv_bytes(records.times(board)))
    assert [(row["task"], row["optimizer"], row["ms_per_step"]) for row in times[2:3]] == [
        ("a", "celo", "4.2")
    ]
    assert [row["seconds"] for row in times] == ["1.0", "1.0", "", "1.0"]


def test_missing_numbers_are_empty():
    assert records.csv_bytes([{"a": NAN, "b": None, "c": 0.1}]) == b"a,b,c\n,,0.1\n"
