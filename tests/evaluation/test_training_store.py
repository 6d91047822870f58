"""Stored trainings: damage is noticed and reported, other code is other trainings, trouble is not absence."""

import dataclasses

import numpy as np
import pytest

from evaluation import code_identity, comparison
from evaluation.code_identity import digest_of_sources
from evaluation.comparison import Comparison
from evaluation.outcome import Trainings
from evaluation.training_store import TrainingStore
from meta.tasks import Quadratic

LOSS = np.linspace(2.0, 1.0, 6, dtype=np.float32).reshape(2, 3)
TRAININGS = Trainings(LOSS, np.array([0.5, 0.25], np.float32))
MADE_WITH = {
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {"jax": "1.0", "optax": None},
    "git": {"revision": "abc", "dirty": False},
    "devices": {"platform": "cpu", "kind": "cpu", "count": 1},
    "jax_config": {"jax_enable_x64": False},
}


@pytest.fixture
def store(tmp_path):
    lines = []
    return TrainingStore(tmp_path, lines.append), lines


def test_no_flipped_byte_is_read_as_something_else_or_raises(store):
    store, lines = store
    store.save("one", "asked", TRAININGS)
    path = store.path("one")
    whole = path.read_bytes()
    noticed = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        found = store.load("one", "asked")
        if found is None:
            noticed += 1
            assert len(lines) == noticed
            assert "one.npz is damaged" in lines[-1]
            assert lines[-1].endswith("its trainings are done again")
        else:  # a byte that holds no result, such as the time in the archive's directory
            np.testing.assert_array_equal(found.loss, TRAININGS.loss)
            np.testing.assert_array_equal(found.final, TRAININGS.final)
    assert noticed > len(whole) / 2


def test_absent_and_other_trainings_are_none_without_a_word(store):
    store, lines = store
    assert store.load("one", "asked") is None
    store.save("one", "asked", TRAININGS)
    assert store.load("one", "something else") is None
    assert store.load("one", "asked") is not None
    assert lines == []


@pytest.mark.parametrize("error", [PermissionError, IsADirectoryError])
def test_a_file_that_cannot_be_read_is_not_taken_for_absent(store, monkeypatch, error):
    store, _ = store
    store.save("one", "asked", TRAININGS)

    def refuse(path):
        raise error(f"cannot read {path}")

    monkeypatch.setattr(type(store.folder), "read_bytes", refuse)
    with pytest.raises(error, match="cannot read"):
        store.load("one", "asked")


def identity(monkeypatch, root=None, **changes):
    """`code_identity` of other circumstances, and the fingerprint of a job under them."""
    monkeypatch.setattr(code_identity, "provenance", lambda: MADE_WITH | changes)
    if root is not None:
        monkeypatch.setattr(code_identity, "_ROOT", root)
    found = code_identity.code_identity.__wrapped__()
    monkeypatch.setattr(comparison, "code_identity", lambda: found)
    job = comparison._Job(Quadratic.of([1.0], name="bowl"), 5, None)
    return found, job.asked(dataclasses.replace(Comparison(), seeds=1))


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"jax": "1.1", "optax": None}},
        {"versions": {"jax": "1.0", "optax": "0.1"}},
        {"git": {"revision": "abd", "dirty": False}},
        {"git": {"revision": "abc", "dirty": True}},
        {"git": None},
        {"devices": {"platform": "gpu", "kind": "cpu", "count": 1}},
        {"devices": {"platform": "cpu", "kind": "another", "count": 1}},
        {"jax_config": {"jax_enable_x64": True}},
    ],
)
def test_other_code_or_platform_is_another_training(monkeypatch, change):
    assert identity(monkeypatch)[1] != identity(monkeypatch, **change)[1]


def test_time_and_number_of_devices_decide_nothing(monkeypatch):
    later = {"created": "2027", "devices": {"platform": "cpu", "kind": "cpu", "count": 8}}
    assert identity(monkeypatch)[1] == identity(monkeypatch, **later)[1]
    assert identity(monkeypatch)[0]["sources"] is None


@pytest.mark.parametrize("git", [{"revision": "abc", "dirty": True}, None])
def test_sources_without_a_clean_revision_are_told_apart_by_content(monkeypatch, tmp_path, git):
    (tmp_path / "meta" / "tasks").mkdir(parents=True)
    (tmp_path / "meta" / "tasks" / "bowl.py").write_text("c = 1\n")
    first = identity(monkeypatch, tmp_path, git=git)
    assert first == identity(monkeypatch, tmp_path, git=git)
    assert first[0]["sources"] == digest_of_sources(tmp_path)
    (tmp_path / "meta" / "tasks" / "bowl.py").write_text("c = 2\n")
    changed = identity(monkeypatch, tmp_path, git=git)
    assert changed[1] != first[1]
    (tmp_path / "meta" / "tasks" / "bowl.py").rename(tmp_path / "meta" / "bowl.py")
    assert identity(monkeypatch, tmp_path, git=git)[1] not in (first[1], changed[1])


def test_all_packages_of_the_checkout_are_hashed():
    for package in code_identity._PACKAGES:
        assert (code_identity._ROOT / package / "__init__.py").is_file()
