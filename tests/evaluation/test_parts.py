"""The finished chunks of an interrupted cell: taken over as they are, unless damaged or of another size."""

import numpy as np
import pytest

from celo.evaluation.cell_name import CellName
from celo.evaluation.cell_program import CellProgram, Chunk, Measured, Size
from celo.evaluation.parts import Parts
from celo.evaluation.resources import Resources
from celo.evaluation.runner import run
from tests.evaluation.bowl import Told, evaluation, only_cell

NAME = CellName("task", "adam", "0" * 64)
SIZE = Size(2, 3)
CHUNK = Chunk(4, 0, ({"learning_rate": 0.1},) * 2, (0, 1, 2))
MEASURED = Measured(
    loss=np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    eta=np.ones((2, 3, 4), np.float32),
    final_loss=np.array([[1.0, 2.0, np.nan], [3.0, np.inf, 4.0]], np.float32),
    evaluations={"train_loss": np.full((2, 3, 2), 0.5, np.float32)},
    step_seconds=0.25,
    seconds=3.0,
)


@pytest.fixture
def kept(tmp_path):
    """Parts with one chunk, and what they say."""
    lines = []
    parts = Parts(tmp_path, NAME, lines.append)
    parts.write(SIZE, CHUNK, MEASURED)
    return parts, lines


def test_a_chunk_comes_back_as_it_was(kept):
    parts, lines = kept
    found = parts.read(SIZE, CHUNK)
    assert found is not None
    for name in ("loss", "eta", "final_loss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(MEASURED, name))
    assert list(found.evaluations) == ["train_loss"]
    np.testing.assert_array_equal(found.evaluations["train_loss"], MEASURED.evaluations["train_loss"])
    assert (found.step_seconds, found.seconds, lines) == (0.25, 3.0, [])


def test_only_the_chunk_itself_is_taken_over(kept, tmp_path):
    parts, _ = kept
    assert parts.read(Size(1, 3), CHUNK) is None
    assert parts.read(SIZE, CHUNK._replace(row=6)) is None
    assert Parts(tmp_path, NAME._replace(key="1" * 64)).read(SIZE, CHUNK) is None
    parts.clear()
    assert parts.read(SIZE, CHUNK) is None
    parts.clear()  # nothing to forget is no error


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[: len(data) // 2] + b"?" * 8 + data[len(data) // 2 + 8 :],
    ],
)
def test_a_damaged_chunk_is_said_and_done_again(kept, damage):
    parts, lines = kept
    path = parts.path(SIZE, CHUNK)
    path.write_bytes(damage(path.read_bytes()))
    assert parts.read(SIZE, CHUNK) is None
    (line,) = lines
    assert str(path) in line
    assert "is damaged" in line


def test_a_chunk_of_other_trainings_is_not_taken_over(kept):
    parts, lines = kept
    assert parts.read(SIZE, CHUNK._replace(seeds=(0, 1))) is None
    assert "its trainings are (2, 3), expected (2, 2)" in lines[0]


def test_what_a_stopped_cell_had_done_is_not_done_again(adam_cell, tmp_path, monkeypatch):
    asked, told, trained = evaluation(tmp_path), Told(), []
    train = CellProgram.run

    def counting(program, chunk, *args):
        trained.append(chunk)
        return train(program, chunk, *args)

    monkeypatch.setattr(CellProgram, "run", counting)
    outcome = run(asked, Resources(), told, lambda: max(told.parts, default=0.0) > 0.4)
    assert [name.optimizer for name in outcome.missing] == ["adam"]
    before = len(trained)
    assert before >= 3
    cell = only_cell(asked)
    assert len({(chunk.row, chunk.column) for chunk in trained}) == 6
    assert len(trained) <= 6 + 2  # those that were under way, on two devices at most
    np.testing.assert_array_equal(cell.loss, adam_cell.loss)
    np.testing.assert_array_equal(cell.final_loss, adam_cell.final_loss)
    assert list((tmp_path / "parts").iterdir()) == []


def test_what_was_left_of_a_finished_cell_goes_when_it_is_found(tmp_path):
    """As after a kill between the two, or when the cell came from elsewhere."""
    asked = evaluation(tmp_path)
    only_cell(asked)
    (name,) = asked.store.expected
    parts = Parts(tmp_path, name)
    parts.write(SIZE, CHUNK, MEASURED)
    only_cell(asked)
    assert not parts.folder.exists()


def test_what_was_left_under_another_key_goes_unless_somebody_works_on_it(tmp_path):
    """Those of other optimizers and tasks stay, too."""
    asked = evaluation(tmp_path)
    (name,) = (job.name for job in asked.jobs)
    earlier, locked = name._replace(key="1" * 64), name._replace(key="2" * 64)
    others = [name._replace(task="bowl2", key="1" * 64), name._replace(optimizer="adam--x", key="1" * 64)]
    for one in (earlier, locked, *others):
        Parts(tmp_path, one).write(SIZE, CHUNK, MEASURED)
    with asked.store.lock(locked.file):
        only_cell(asked)
    left = {path.name for path in (tmp_path / "parts").iterdir()}
    assert left == {one.file for one in (locked, *others)}
