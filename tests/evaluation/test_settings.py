"""Keys of cells change with everything that matters and with nothing else."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from celo.evaluation import code_identity
from celo.evaluation.code_identity import digest_of_sources, read_sources
from celo.evaluation.contestants import Contestant, learned_contestant
from celo.evaluation.rules import HandDesigned, ScheduledNAdamW
from celo.evaluation.settings import Settings, cell_key, code_digest, task_digest
from celo.learned.celo import Celo
from celo.meta.runs.fingerprint import fingerprint
from celo.meta.tasks import Quadratic, make

BOWL = Quadratic.of([1.0, 2.0], target=3.0, name="bowl")
RATES = ({"learning_rate": 0.1}, {"learning_rate": 0.3})
ADAM = Contestant("adam", HandDesigned("adam"), RATES)
THETA = Celo(stage=1).init(jax.random.key(0))
CELO = learned_contestant("celo", Celo(stage=1), THETA)
SETTINGS = Settings(steps=10, seeds=2)
MADE_WITH = {
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {"jax": "1.0", "optax": None},
    "git": {"revision": "abc", "dirty": False},
    "devices": {"platform": "cpu", "kind": "cpu", "count": 1},
    "jax_config": {"jax_enable_x64": False},
}


def key(task=BOWL, contestant=ADAM, settings=SETTINGS):
    return cell_key(task, task_digest(task), contestant, settings)


@pytest.mark.parametrize(
    "changed",
    [
        {"task": Quadratic.of([1.0, 2.0], target=4.0, name="bowl")},
        {"task": Quadratic.of([1.0, 2.0], target=3.0, noise=0.1, name="bowl")},
        {"contestant": Contestant("adam", HandDesigned("sgd"), RATES)},
        {"contestant": Contestant("adam", HandDesigned("adam"), RATES[:1])},
        {"contestant": Contestant("adam", HandDesigned("adam"), RATES[::-1])},
        {"contestant": Contestant("adam", ScheduledNAdamW(), RATES)},
        {"settings": dataclasses.replace(SETTINGS, steps=11)},
        {"settings": dataclasses.replace(SETTINGS, seeds=3)},
        {"settings": dataclasses.replace(SETTINGS, seed=1)},
        {"settings": dataclasses.replace(SETTINGS, eval_every=5)},
        {"settings": dataclasses.replace(SETTINGS, eval_batches=1)},
    ],
)
def test_whatever_matters_changes_the_key(changed):
    assert key(**changed) != key()


def test_theta_and_its_configuration_change_the_key():
    other = jax.tree.map(lambda x: x + 1, THETA)
    keys = {
        key(contestant=CELO),
        key(contestant=learned_contestant("celo", Celo(stage=1), other)),
        key(contestant=learned_contestant("celo", Celo(), Celo().init(jax.random.key(0)))),
    }
    assert len(keys) == 3


def test_labels_and_equal_copies_change_nothing():
    copy = jax.tree.map(lambda x: np.array(x), CELO.theta)
    assert key(contestant=dataclasses.replace(CELO, label="mine", spec="mine:x", theta=copy)) == key(
        contestant=CELO
    )
    assert key(task=Quadratic.of([1.0, 2.0], target=3.0, name="bowl")) == key()


def test_the_data_are_part_of_a_task():
    task: Any = make("ImageMLP_Digits8_Relu16_bs64")
    images = task.data.splits["test"].arrays["image"]
    task.data.splits["test"].arrays["image"] = images.at[0, 0].add(1)
    assert task_digest(task) != task_digest(make("ImageMLP_Digits8_Relu16_bs64"))


def identity(monkeypatch, **changes):
    monkeypatch.setattr(code_identity, "_made_with", lambda: MADE_WITH | changes)
    return key()


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"jax": "1.1", "optax": None}},
        {"devices": {"platform": "gpu", "kind": "cpu", "count": 1}},
        {"devices": {"platform": "cpu", "kind": "another", "count": 1}},
        {"jax_config": {"jax_enable_x64": True}},
    ],
)
def test_another_platform_is_another_cell(monkeypatch, change):
    assert identity(monkeypatch, **change) != identity(monkeypatch)


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2027"},
        {"git": {"revision": "abd", "dirty": True}},
        {"git": None},
        {"devices": {"platform": "cpu", "kind": "cpu", "count": 8}},
    ],
)
def test_time_revision_and_number_of_devices_decide_nothing(monkeypatch, change):
    assert identity(monkeypatch, **change) == identity(monkeypatch)


def test_the_digest_of_the_code_is_that_of_task_and_platform_whatever_the_data(monkeypatch):
    other = Quadratic.of([1.0, 2.0, 3.0], target=4.0, name="other")
    assert code_digest(BOWL) == code_digest(other)
    assert code_digest(BOWL) != code_digest(make("ImageMLP_Digits8_Relu16_bs64"))
    before = code_digest(BOWL)
    monkeypatch.setattr(code_identity, "_made_with", lambda: MADE_WITH)
    assert code_digest(BOWL) != before


def test_what_makes_a_cell_of_trainings_counts_for_all_cells(monkeypatch):
    sources = code_identity._sources()
    task, code = cell_key(BOWL, "0", ADAM, SETTINGS), code_digest(BOWL)
    for module in ("celo.evaluation.cell_program", "celo.evaluation.open_cell", "celo.meta.compile"):
        changed = sources | {module: sources[module] + b"# changed"}
        monkeypatch.setattr(code_identity, "_sources", lambda changed=changed: changed)
        assert cell_key(BOWL, "0", ADAM, SETTINGS) != task
        assert code_digest(BOWL) != code


@pytest.fixture
def sources():
    return {
        "celo": b"",
        "celo._core.files": b"x = 1",
        "celo.meta.tasks": b"from meta.tasks.bowl import Bowl\nfrom meta.tasks.other import Other",
        "celo.meta.tasks.bowl": b"from celo import files\nimport meta.tasks.base as base\n",
        "celo.meta.tasks.base": b"def f():\n    from meta.data.images import load\n",
        "celo.meta.tasks.other": b"y = 2",
        "celo.meta.data.images": b"z = 3",
    }


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("celo.meta.tasks.bowl", True),
        ("celo._core.files", True),
        ("celo.meta.tasks.base", True),
        ("celo.meta.tasks.other", False),  # nothing that the task is made of imports it
        ("celo.meta.tasks", False),
        ("celo.meta.data.images", False),  # data count as data
    ],
)
def test_sources_count_if_a_cell_is_made_with_them(sources, module, counts):
    changed = sources | {module: sources[module] + b"\n# changed\n"}
    digests = [digest_of_sources(found, ["celo.meta.tasks.bowl"]) for found in (sources, changed)]
    assert (digests[0] != digests[1]) == counts
    assert digest_of_sources(sources) != digest_of_sources(changed)


def test_all_packages_of_the_checkout_are_read():
    names = set(read_sources(code_identity._ROOT))
    assert {"celo", "celo.learned.celo", "celo.meta.evaluated_training", "celo.evaluation.rules"} <= names


def test_what_has_no_lasting_description_is_refused():
    with pytest.raises(TypeError, match="rule holds something without a lasting description"):
        fingerprint(rule=lambda: None)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"steps": 0}, "num_steps is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"eval_every": 0}, "every is 0"),
        ({"eval_batches": 0}, "batches is 0"),
        ({"grid": "halfpowers"}, "Did you mean 'half_powers'"),
    ],
)
def test_bad_settings_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Settings(**numbers)
