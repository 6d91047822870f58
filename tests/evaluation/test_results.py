"""Rows on disk: what is read is what was written, or nothing; folders of something else are refused."""

import dataclasses
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from celo.evaluation.requested import Meaning, Pair, Requested, check_folder, declare, read_requested
from celo.evaluation.results import Training, read, read_file, write
from tests.evaluation.rows import row, rows

SHARED = {"steps": 40, "seeds": 2, "seed": 0, "eval_batches": 0}
RATES = ({"learning_rate": 0.1}, {"learning_rate": 0.3})


def requested(digest="digest of x", label="x", tasks=("task",), task_digest="digest of task", **changes):
    pairs = tuple(Pair(task, label, task_digest) for task in tasks)
    return Requested(SHARED | changes, {label: Meaning(f"{label}:a", digest, True, ({},))}, pairs)


def assert_same(found, expected):
    for field in dataclasses.fields(Training):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "evaluations":
            assert {name: one.tobytes() for name, one in a.items()} == {n: o.tobytes() for n, o in b.items()}
        elif isinstance(b, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        else:
            np.testing.assert_array_equal(a, b)


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


@given(data=st.data())
@settings(max_examples=30)
def test_rows_are_read_bit_for_bit_as_they_were_written(tmp_path_factory, data):
    steps = data.draw(st.integers(1, 3))

    def array(length):
        return np.array(data.draw(st.lists(numbers, min_size=length, max_size=length)), np.float32)

    finite = st.floats(allow_nan=False, allow_infinity=False)
    written = row(
        data.draw(numbers),
        task=data.draw(names),
        optimizer=data.draw(names),
        setting=data.draw(st.dictionaries(names, finite, max_size=2)),
        steps=steps,
        loss=array(steps),
        eta=array(steps) if data.draw(st.booleans()) else None,
        evaluation_steps=np.arange(2),
        evaluations={"train_loss": array(2), "test_accuracy": array(2)},
    )
    folder = tmp_path_factory.mktemp("rows")
    write(folder, [written, dataclasses.replace(written, key="other")])
    first, second = read(folder)
    assert_same(first, written)
    assert second.key == "other"


def test_any_reader_of_parquet_finds_a_row_per_training(tmp_path):
    write(tmp_path, rows([[1, 2], [3, 4]], settings=RATES, optimizer="a"))
    write(tmp_path, rows([5.0], optimizer="b"))
    table = pd.read_parquet(tmp_path / "rows")
    assert table["seed"].tolist() == [0, 1, 0, 1, 0]
    assert dict(table["setting"][2]) == {"learning_rate": 0.3}
    assert len(table["loss"][0]) == 40


def test_no_flipped_byte_is_read_as_something_else(tmp_path):
    written = row(1.0, steps=3)
    path = write(tmp_path, [written])
    whole = path.read_bytes()
    noticed = 0
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :])
        found = read_file(path, lambda line: None)
        noticed += not found
        if found:  # a byte that holds no result, such as the writer's version
            assert_same(found[0], written)
    assert noticed > len(whole) / 7 / 3


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", None])
def test_damaged_and_foreign_files_are_named_and_skipped(tmp_path, content):
    kept = write(tmp_path, rows([1.0]))
    other = tmp_path / "rows" / "other.parquet"
    if content is None:
        pd.DataFrame({"a": [1]}).to_parquet(other)
    else:
        other.write_bytes(content)
    (tmp_path / "rows" / ".half.tmp").write_bytes(kept.read_bytes()[:100])
    lines = []
    assert len(read(tmp_path, lines.append)) == 1
    (line,) = lines
    assert str(other) in line
    assert "skipped" in line


def test_of_rows_with_equal_key_and_label_the_last_written_counts(tmp_path):
    for final, written in ((1.0, "2026"), (2.0, "2027"), (3.0, "2025")):
        write(tmp_path, [row(final, written=written), row(final, key=written, written=written)])
    found = {one.key: one.final_loss for one in read(tmp_path)}
    assert found == {row(1.0).key: 2.0, "2026": 1.0, "2027": 2.0, "2025": 3.0}
    write(tmp_path, [row(9.0, optimizer="again", key="2026")])
    assert len(read(tmp_path)) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": np.zeros(4, np.float32)}, r"loss of a training has shape \(4,\); expected \(40,\)"),
        ({"evaluation_steps": np.arange(5)}, "train_loss of a training has shape"),
        ({"eta": np.zeros((1, 40), np.float32)}, "eta of a training has shape"),
        ({"evaluations": {"loss": np.zeros(3)}}, "evaluations hold 'loss'; expected names among"),
    ],
)
def test_arrays_of_other_lengths_are_not_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, [row(1.0, **change)])
    with pytest.raises(ValueError, match="at least one row"):
        write(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_labels_and_tasks_of_any_length_and_signs_have_files_of_their_own(tmp_path):
    labels = ("a b", "a-b", "a:b", "a/b", "~/a" * 100, "~/a" * 101, "../../x")
    files = {write(tmp_path, [row(1.0, task=".n:o", optimizer=label)]) for label in labels}
    assert len(files) == len(labels)
    assert {one.optimizer for one in read(tmp_path)} == set(labels)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_requests_add_up_and_keep_their_order(tmp_path):
    declare(tmp_path, requested(tasks=("a", "b")))
    declare(tmp_path, requested(label="y", tasks=("b",)))
    declare(tmp_path, requested(tasks=("b",), task_digest="new"))
    declare(tmp_path, requested(tasks=("a",), task_digest=""))  # data are missing now
    found = read_requested(tmp_path)
    old = "digest of task"
    assert found.pairs == (Pair("a", "x", old), Pair("b", "x", "new"), Pair("b", "y", old))
    assert list(found.optimizers) == ["x", "y"]


def test_rows_that_were_not_requested_do_not_count():
    asked = requested()
    fitting = rows([1.0, 2.0], optimizer="x")
    changes: list[dict[str, Any]] = [
        {"optimizer_digest": "other"},
        {"task_digest": "other"},
        {"steps": 41},
        {"seed": 2},
        {"random_seed": 1},
        {"evaluation_batches": 1},
        {"setting": {"learning_rate": 0.1}},
    ]
    others = [row(9.0, optimizer="x", **change) for change in changes]
    assert asked.rows_of([*others, *reversed(fitting)]) == {("task", "x"): fitting}
    assert asked.missing(others) == {("task", "x"): 2}
    assert asked.missing(fitting[:1]) == {("task", "x"): 1}
    assert asked.missing(fitting) == {}


def test_a_label_keeps_its_meaning_unless_new_ones_are_allowed(tmp_path):
    declare(tmp_path, requested(digest="1" * 64))
    declare(tmp_path, requested(digest="1" * 64))
    before = (tmp_path / "evaluation.json").read_bytes()
    for refuse in (check_folder, declare):
        with pytest.raises(ValueError, match=r"the label x means another optimizer in .*111111111111.*2222"):
            refuse(tmp_path, requested(digest="2" * 64))
    assert (tmp_path / "evaluation.json").read_bytes() == before
    declare(tmp_path, requested(digest="2" * 64), new_labels=True)
    assert read_requested(tmp_path).optimizers["x"].digest == "2" * 64


def test_folders_of_something_else_and_of_other_settings_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds no evaluation but thesis.tex"):
        declare(tmp_path, requested())
    with pytest.raises(FileExistsError, match="is a file"):
        declare(tmp_path / "thesis.tex", requested())
    with pytest.raises(FileNotFoundError, match="holds no evaluation"):
        read_requested(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    check_folder(tmp_path / "new", requested())
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "log.out").write_text("started")
    declare(tmp_path / "new", requested())
    with pytest.raises(ValueError, match="other settings: steps 40 instead of 41; use the same settings"):
        check_folder(tmp_path / "new", requested(steps=41))


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"format": 1, "cells": []}', b"[" * 100_000, b"\xff", b"null"]
)
def test_a_damaged_list_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "evaluation.json").write_bytes(content)
    for use in (read_requested, lambda folder: declare(folder, requested())):
        with pytest.raises(ValueError, match=r"evaluation\.json does not describe an evaluation"):
            use(tmp_path)
