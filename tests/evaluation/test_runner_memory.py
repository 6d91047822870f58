"""How many trainings of a cell are done at a time: chunks, what fits the memory, and one compilation each."""

import threading
import time
import types

import jax
import numpy as np
import pytest

from celo.evaluation import cell_program, open_cell, runner
from celo.evaluation.cell_program import CellProgram, Size, StopRequestedError, at_once, largest_size
from celo.evaluation.parts import Parts
from celo.evaluation.plan import Job
from celo.evaluation.resources import Resources
from celo.evaluation.runner import run
from celo.evaluation.store import CellName
from tests.evaluation.bowl import ADAM, BOWL, SETTINGS, Told, evaluation, only_cell


@pytest.mark.parametrize("most", [6, pytest.param(4, marks=pytest.mark.slow)])
def test_trainings_side_by_side_give_what_single_ones_give(adam_cell, tmp_path, most):
    """All of them at a time, and two configurations of three, on both devices."""
    assert adam_cell.info["trainings_at_once"] == 1
    parts = only_cell(evaluation(tmp_path), trainings_at_once=most)
    assert parts.info["trainings_at_once"] == most
    for name in ("loss", "final_loss"):
        np.testing.assert_allclose(getattr(parts, name)[:2], getattr(adam_cell, name)[:2], rtol=1e-5)
    for name, values in adam_cell.evaluations.items():
        np.testing.assert_allclose(parts.evaluations[name][:2], values[:2], rtol=1e-5)
    np.testing.assert_array_equal(parts.diverged, adam_cell.diverged)


def test_chunks_shrink_until_they_fit(adam_cell, tmp_path, monkeypatch):
    """A program that needs 100 bytes per training, and memory for two of the six."""
    sizes = []

    def needed(program):
        sizes.append(program.size)
        return 100 * program.size.trainings

    monkeypatch.setattr(CellProgram, "bytes", property(needed))
    monkeypatch.setattr(CellProgram, "shared_bytes", 0)
    cell = only_cell(evaluation(tmp_path), trainings_at_once=6, memory=250)
    assert cell.info["trainings_at_once"] == 2
    assert list(dict.fromkeys(sizes)) == [Size(3, 2), Size(1, 2)]
    np.testing.assert_allclose(cell.final_loss[:2], adam_cell.final_loss[:2], rtol=1e-5)


def test_a_training_that_does_not_fit_is_tried_and_said(tmp_path):
    told = Told()
    run(evaluation(tmp_path), Resources(memory=1), told)
    assert any("one training takes" in line for line in told.lines)
    assert told.lines[-1] == ("adam", "done")


def test_without_any_memory_left_one_training_is_tried_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "bytes_per_device", lambda device: 0)
    told = Told()
    assert run(evaluation(tmp_path), Resources(), told).missing == ()
    assert any("one training takes" in line for line in told.lines)


NO_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")


@pytest.fixture
def scarce(monkeypatch):
    """Memory for so many trainings at a time, although the compiled programs say that they need none."""

    def give(most, error=NO_MEMORY):
        run_chunk = CellProgram.run

        def limited(program, *args):
            if program.size.trainings > most:
                raise error
            return run_chunk(program, *args)

        monkeypatch.setattr(CellProgram, "run", limited)

    return give


def test_without_memory_fewer_are_trained_at_a_time(adam_cell, tmp_path, scarce):
    scarce(2)
    told = Told()
    asked = evaluation(tmp_path)
    assert run(asked, Resources(6), told).missing == ()
    assert told.lines == [
        "adam on bowl: 6 trainings at a time take too much memory; 3 are tried",
        ("adam", "done"),
    ]
    (cell,) = asked.results()
    assert cell.info["trainings_at_once"] == 2
    np.testing.assert_allclose(cell.final_loss[:2], adam_cell.final_loss[:2], rtol=1e-5)


def test_without_memory_to_compile_fewer_are_compiled(tmp_path, monkeypatch):
    def limited(*args):
        if args[4].trainings > 2:
            raise NO_MEMORY
        return CellProgram(*args)

    monkeypatch.setattr(open_cell, "CellProgram", limited)
    assert only_cell(evaluation(tmp_path), trainings_at_once=6).info["trainings_at_once"] == 2


@pytest.mark.parametrize(
    ("error", "tried"), [(NO_MEMORY, 3), (jax.errors.JaxRuntimeError("INTERNAL: broken"), 1)]
)
def test_what_fewer_trainings_do_not_help_is_a_failure(tmp_path, scarce, monkeypatch, error, tried):
    made = []
    cell = open_cell.OpenCell
    monkeypatch.setattr(runner, "OpenCell", lambda *args: made.append(args) or cell(*args))
    scarce(0, error)
    ((_, reason),) = run(evaluation(tmp_path), Resources(6)).failures
    assert str(error) in reason
    assert len(made) == tried  # 6, 2, 1: three sizes at most


def test_each_cell_is_compiled_once_for_the_device_that_does_it(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(jax, "local_devices", lambda *args, **kwargs: jax.devices()[:1])
    program = cell_program.CellProgram
    monkeypatch.setattr(open_cell, "CellProgram", lambda *args: made.append(args) or program(*args))
    only_cell(evaluation(tmp_path), trainings_at_once=2)
    assert len(made) == 1


class Nowhere(Parts):
    """Keeps nothing."""

    def write(self, *args):
        pass


def opened(device, folder, log):
    job = Job(CellName("bowl", "adam", "0"), ADAM, "")
    room = Resources(memory=10**9)
    return open_cell.OpenCell(job, BOWL, SETTINGS, room, device, Nowhere(folder, job.name), log)


@pytest.mark.parametrize(("seconds", "wanted"), [(4.0, False), (6.0, True)])
def test_another_device_helps_where_that_saves_more_than_it_compiles(tmp_path, monkeypatch, seconds, wanted):
    """In the second chunk of six, when four wait: two devices save half their time, for 10 s to compile."""
    first, other = jax.devices()[:2]
    now, asked = [0.0], []

    class Program:
        size, compile_seconds, bytes = Size(1, 1), 10.0, 0

        def __init__(self, *args):
            self.device = args[5]

        def run(self, *args):
            asked.append((cell.wants(first), cell.wants(other)))
            now[0] += seconds

    monkeypatch.setattr(open_cell, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(open_cell, "CellProgram", Program)
    cell = opened(first, tmp_path, print)
    cell.work(first, lambda fraction: None, lambda: False)
    assert asked[:2] == [(True, False), (True, wanted)]
    assert len(asked) == 6
    assert asked[-1] == (False, False)


def test_a_device_that_cannot_compile_leaves_the_cell_to_the_others(adam_cell, tmp_path, monkeypatch):
    first, other = jax.devices()[:2]
    told = Told()

    def program(*args):
        if args[5] == other:
            raise jax.errors.JaxRuntimeError("INTERNAL: no compiler")
        return CellProgram(*args)

    monkeypatch.setattr(open_cell, "CellProgram", program)
    cell = opened(first, tmp_path, told.log)
    cell.work(other, lambda fraction: None, lambda: False)
    assert "does not help, as it cannot compile (JaxRuntimeError: INTERNAL: no compiler)" in told.lines[0]
    assert not cell.wants(other)
    cell.work(first, lambda fraction: None, lambda: False)
    np.testing.assert_array_equal(cell.result().loss, adam_cell.loss)


def test_what_fails_on_one_device_ends_once_the_others_have_stopped(tmp_path, monkeypatch):
    """The second device, in the midst of a chunk, sees that the first failed, before the result is told."""
    first, other = jax.devices()[:2]
    running, seen = threading.Event(), []

    class Program:
        size, compile_seconds, bytes = Size(1, 1), 0.0, 0

        def __init__(self, *args):
            self.device = args[5]

        def run(self, chunk, advanced, stopped):
            if self.device == first:
                assert running.wait(60)
                raise RuntimeError("broken")
            running.set()
            while not stopped():
                time.sleep(0.01)
            time.sleep(0.1)
            seen.append("stopped")
            raise StopRequestedError

    monkeypatch.setattr(open_cell, "CellProgram", Program)
    cell = opened(first, tmp_path, print)
    helper = threading.Thread(target=cell.work, args=(other, lambda fraction: None, lambda: False))
    helper.start()
    cell.work(first, lambda fraction: None, lambda: False)
    with pytest.raises(RuntimeError, match="broken"):
        cell.result()
    assert seen == ["stopped"]
    helper.join()


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((14, 3, 42), (14, 3)),
        ((14, 3, 41), (7, 3)),
        ((14, 3, 3), (1, 3)),
        ((1, 3, 2), (1, 2)),
        ((2, 5, 1), (1, 1)),
    ],
)
def test_sizes_are_equal_and_within_bounds(arguments, size):
    assert largest_size(*arguments) == Size(*size)


def test_an_accelerator_does_all_at_once_and_a_core_one():
    gpu = types.SimpleNamespace(platform="gpu")
    assert (at_once(gpu, 42), at_once(jax.devices("cpu")[0], 42)) == (42, 1)


@pytest.mark.parametrize("numbers", [{"trainings_at_once": -1}, {"memory": 0}])
def test_resources_are_checked(numbers):
    with pytest.raises(ValueError, match="expected"):
        Resources(**numbers)
