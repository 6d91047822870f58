"""Results on disk: what is read is what was written, or nothing; folders of something else are refused."""

import dataclasses
import json

import hypothesis.strategies as st
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from celo.evaluation import cell_file
from celo.evaluation.cell import CellResult
from celo.evaluation.store import CellName, Meaning, Store, name_of

SETTINGS = {"steps": 3, "seeds": 2}
KEY = "ab" * 32


def cell(configurations=({"learning_rate": 0.1}, {"learning_rate": 0.3}), eta=True, **changes):
    lead = (len(configurations), 2)
    loss = np.arange(lead[0] * 6, dtype=np.float32).reshape(*lead, 3)
    loss[0, 1, 2] = np.nan
    made = CellResult(
        task="Task_A/b",
        optimizer="adam@1e-3",
        key=KEY,
        learned=False,
        configurations=tuple(configurations),
        seeds=(0, 1),
        num_steps=3,
        loss_unit="nats",
        loss=loss,
        final_loss=loss[..., 0] + 0.5,
        evaluation_steps=np.array([0, 2]),
        evaluations={"train_loss": loss[..., :2], "test_accuracy": loss[..., 1:]},
        eta=loss * 2 if eta else None,
        info={"seconds": 1.5, "data": None, "nested": {"list": [1, 2]}},
    )
    return dataclasses.replace(made, **changes)


def assert_same(found, expected):
    for field in dataclasses.fields(CellResult):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "evaluations":
            assert set(a) == set(b)
            assert all(a[name].tobytes() == b[name].tobytes() for name in a)
        elif isinstance(b, np.ndarray) and b.dtype == np.float32:
            assert a.dtype == np.float32
            assert a.tobytes() == b.tobytes()
            assert a.shape == b.shape
        else:
            np.testing.assert_array_equal(a, b)


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(data=st.data())
@settings(max_examples=30)
def test_what_is_read_is_what_was_written_bit_for_bit(data):
    count, seeds, steps = (data.draw(st.integers(1, 3)) for _ in range(3))

    def array(*shape):
        size = int(np.prod(shape))
        drawn = data.draw(st.lists(numbers, min_size=size, max_size=size))
        return np.array(drawn, np.float32).reshape(shape)

    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    written = CellResult(
        task=data.draw(names),
        optimizer=data.draw(names),
        key=KEY,
        learned=data.draw(st.booleans()),
        configurations=tuple(data.draw(st.dictionaries(names, finite, max_size=2)) for _ in range(count)),
        seeds=tuple(range(seeds)),
        num_steps=steps,
        loss_unit="nats",
        loss=array(count, seeds, steps),
        final_loss=array(count, seeds),
        evaluation_steps=np.arange(2),
        evaluations={"train_loss": array(count, seeds, 2)},
        eta=array(count, seeds, steps) if data.draw(st.booleans()) else None,
        info={"x": data.draw(finite)},
    )
    assert_same(cell_file.decode(cell_file.encode(written)), written)


def test_any_reader_of_parquet_finds_a_row_per_training(tmp_path):
    store = Store(tmp_path)
    store.write(cell())
    table = pq.read_table(store.path(name_of(cell())))
    assert table.num_rows == 4
    assert table.column("seed").to_pylist() == [0, 1, 0, 1]
    assert table.column("hyperparameter.learning_rate").to_pylist() == [0.1, 0.1, 0.3, 0.3]
    assert table.column("loss").to_pylist()[2] == cell().loss[1, 0].tolist()


def test_no_flipped_byte_is_read_as_something_else():
    whole = cell_file.encode(cell())
    noticed = 0
    for i in range(len(whole)):
        damaged = whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :]
        try:
            found = cell_file.decode(damaged)
        except Exception:
            noticed += 1
        else:  # a byte that holds no result, such as the writer's version
            assert_same(found, cell())
    assert noticed > len(whole) / 2


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_damage_is_said_and_counts_as_absence(tmp_path, content):
    lines = []
    store, name = Store(tmp_path, lines.append), name_of(cell())
    store.declare(SETTINGS, [name])
    store.write(cell())
    assert store.missing() == []
    store.path(name).write_bytes(content)
    assert store.read(name) is None
    assert "is damaged" in lines[0]
    assert str(store.path(name)) in lines[0]
    assert store.missing() == [name]
    assert store.results() == []


def test_a_cell_in_the_place_of_another_is_not_taken_for_it(tmp_path):
    lines = []
    store, name = Store(tmp_path, lines.append), name_of(cell())
    store.write(cell(task="Other"))
    store.path(name_of(cell(task="Other"))).rename(store.path(name))
    assert store.read(name) is None
    assert "holds adam@1e-3 on Other" in lines[0]


def test_a_file_that_cannot_be_read_is_not_taken_for_absent(tmp_path):
    store, name = Store(tmp_path), name_of(cell())
    store.path(name).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        store.read(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": np.zeros((2, 2, 4), np.float32)}, r"loss of the cell has shape \(2, 2, 4\); expected"),
        ({"evaluation_steps": np.arange(5)}, "train_loss of the cell has shape"),
        ({"final_loss": np.zeros(2, np.float32)}, "final_loss of the cell has shape"),
    ],
)
def test_arrays_of_other_shapes_are_not_written(change, message):
    with pytest.raises(ValueError, match=message):
        cell_file.encode(cell(**change))


def test_labels_that_differ_in_signs_alone_have_files_of_their_own(tmp_path):
    names = [CellName("t", label, KEY) for label in ("a b", "a-b", "a:b", "a/b", "~/a" * 100, "~/a" * 101)]
    assert len({Store(tmp_path).path(name) for name in names}) == len(names)
    assert CellName("T_a", "a-b@1e-3", KEY).file == f"T_a--a-b@1e-3--{KEY[:16]}"


def test_a_cell_under_the_name_that_earlier_versions_gave_it_is_found(tmp_path):
    """A label with a sign that files cannot have, before such labels were kept apart by a hash."""
    lines = []
    store, search = Store(tmp_path, lines.append), cell(task="t", optimizer="nadamw-search:10")
    store.declare(SETTINGS, [name_of(search)])
    store.write(search)
    earlier = tmp_path / "cells" / f"t--nadamw-search-10--{KEY[:16]}.parquet"
    store.path(name_of(search)).rename(earlier)
    assert_same(store.read(name_of(search)), search)
    assert store.missing() == []
    assert store.read(CellName("t", "nadamw-search/10", KEY)) is None  # had the same name
    assert lines == []
    earlier.write_bytes(b"PAR1")
    assert store.missing() == [name_of(search)]
    assert f"{earlier} is damaged" in lines[0]


def test_the_list_is_read_once_to_add_to_it(tmp_path, monkeypatch):
    reads, read = [], Store._read_json
    Store(tmp_path).declare(SETTINGS, [])
    monkeypatch.setattr(Store, "_read_json", lambda store: reads.append(store) or read(store))
    Store(tmp_path).declare(SETTINGS, [CellName("t", "adam", KEY)])
    assert len(reads) == 1


def test_names_of_any_length_have_files(tmp_path):
    long = cell(task="t" * 300, optimizer="a b/" + "x" * 300)
    Store(tmp_path).write(long)
    Store(tmp_path).lock(name_of(long).file).release()
    assert_same(Store(tmp_path).read(name_of(long)), long)


def test_more_may_be_asked_for_and_the_order_stays(tmp_path):
    first, second = CellName("t", "adam", KEY), CellName("t", "sgd", KEY)
    store = Store(tmp_path)
    store.declare(SETTINGS, [first], {"versions": {"jax": "1"}})
    store.declare(SETTINGS, [second], {"versions": {"jax": "2"}})
    assert Store(tmp_path).expected == (first, second)
    assert Store(tmp_path).provenance == {"versions": {"jax": "1"}}
    newer = first._replace(key="c" * 64)
    store.declare(SETTINGS, [newer])
    assert store.expected == (newer, second)


def test_a_cell_without_a_key_is_missing_until_it_has_one(tmp_path):
    store, unknown = Store(tmp_path), CellName("t", "adam", "")
    store.declare(SETTINGS, [unknown])
    assert store.missing() == [unknown]
    known = unknown._replace(key=KEY)
    store.declare(SETTINGS, [known])
    store.declare(SETTINGS, [unknown])
    assert store.expected == (known,)


def test_a_label_keeps_its_meaning(tmp_path):
    store = Store(tmp_path)
    first, moved, other = Meaning("x:a", "1" * 64), Meaning("x:/b/a", "1" * 64), Meaning("x:c", "2" * 64)
    store.declare(SETTINGS, [], labels={"x": first})
    store.declare(SETTINGS, [], labels={"x": moved, "y": other})
    before = (tmp_path / "evaluation.json").read_bytes()
    message = "the label x means another optimizer in .*: x:a .digest 111111111111. instead of x:c .digest 2"
    for refuse in (store.check, lambda *given: store.declare(given[0], [], None, given[1])):
        with pytest.raises(ValueError, match=message):
            refuse(SETTINGS, {"x": other})
    assert (tmp_path / "evaluation.json").read_bytes() == before


def test_a_folder_without_meanings_gets_them(tmp_path):
    """As one of an earlier version."""
    Store(tmp_path).declare(SETTINGS, [CellName("t", "x", KEY)])
    path = tmp_path / "evaluation.json"
    content = json.loads(path.read_text())
    del content["labels"]
    path.write_text(json.dumps(content))
    Store(tmp_path).declare(SETTINGS, [], labels={"x": Meaning("x:a", "1" * 64)})
    with pytest.raises(ValueError, match="the label x means another optimizer"):
        Store(tmp_path).check(SETTINGS, {"x": Meaning("x:a", "2" * 64)})


def test_to_check_a_folder_makes_none(tmp_path):
    Store(tmp_path / "new").check(SETTINGS, {"x": Meaning("x:a", "1" * 64)})
    assert not (tmp_path / "new").exists()


def test_a_folder_of_other_settings_is_refused(tmp_path):
    Store(tmp_path).declare(SETTINGS, [])
    with pytest.raises(ValueError, match="other settings: steps 3 instead of 4; use the same settings or"):
        Store(tmp_path).declare(SETTINGS | {"steps": 4}, [])


def test_a_folder_of_another_format_is_refused(tmp_path):
    Store(tmp_path).declare(SETTINGS, [])
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    for use in (lambda: Store(tmp_path).expected, lambda: Store(tmp_path).declare(SETTINGS, [])):
        with pytest.raises(ValueError, match="holds results of format 99"):
            use()


def test_a_damaged_list_is_an_error_not_an_empty_one(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match=r"evaluation\.json is not readable"):
        _ = Store(tmp_path).expected


def test_the_log_of_the_command_itself_is_nothing_else(tmp_path):
    (tmp_path / "log.out").write_text("begun")
    Store(tmp_path).declare(SETTINGS, [])
    assert not list(Store(tmp_path).expected)


def test_folders_of_something_else_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds no evaluation but thesis.tex"):
        Store(tmp_path).declare(SETTINGS, [])
    with pytest.raises(FileExistsError, match="is a file"):
        Store(tmp_path / "thesis.tex").declare(SETTINGS, [])
    with pytest.raises(FileNotFoundError, match="holds no evaluation"):
        _ = Store(tmp_path / "nothing").expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    store = Store(tmp_path)
    with store.lock("one"):
        with pytest.raises(BlockingIOError, match="process"):
            store.lock("one")
        store.lock("two").release()
    store.lock("one").release()
