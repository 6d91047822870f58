"""Suites of tasks, and the names that are none."""

import json

import pytest

from celo.evaluation.suites import CELO17, QUICK, suites, tasks_of
from celo.meta.tasks import TASKS


def test_celo17_is_the_papers(shared_path):
    facts = json.loads(shared_path("facts/velodrome.json").read_text())
    assert set(CELO17) == set(facts["celo_17"])


def test_velodrome_is_every_other_published_task(shared_path):
    facts = json.loads(shared_path("facts/velodrome.json").read_text())
    assert set(suites()["velodrome"]) == set(facts["tasks"]) & set(TASKS) - set(CELO17)


def test_suites_of_the_published_keys(shared_path):
    facts = json.loads(shared_path("facts/velodrome.json").read_text())
    shorter = ("small_time_fixed_67", "speedup_over_adam_pkl_75", "celo_17")
    known = {name: set(tasks) for name, tasks in suites().items()}
    assert known["velodrome110"] == set(facts["speedup_over_adam_110"])
    assert known["velodrome84"] == set().union(*(facts[name] for name in shorter))
    assert {name: len(suites()[name]) for name in ("velodrome84", "velodrome110")} == {
        "velodrome84": 84,
        "velodrome110": 110,
    }


def test_names_are_taken_once_and_in_order():
    assert tasks_of(None, [QUICK[1], QUICK[0], QUICK[1]]) == (QUICK[1], QUICK[0])
    assert tasks_of(",".join([QUICK[1], QUICK[0], QUICK[1]])) == (QUICK[1], QUICK[0])
    assert tasks_of(QUICK[1]) == (QUICK[1],)
    assert tasks_of(None, ["mine.tasks:bowl"]) == tasks_of("mine.tasks:bowl") == ("mine.tasks:bowl",)


@pytest.mark.parametrize(
    ("suite", "names", "message"),
    [
        ("quik", (), "Unknown suite 'quik'. Did you mean 'quick'"),
        ("ImageMLP_Digits8_Relu32_bs64,Nothing", (), "Unknown task 'Nothing'"),
        (
            None,
            ("ImageMLP_Digits8_Relu32_bs46",),
            "Unknown task .* Did you mean 'ImageMLP_Digits8_Relu32_bs64'",
        ),
        ("mine.tasks:", (), "module:object"),
        (None, (), "give either a suite or names"),
        ("quick", (QUICK[0],), "give either a suite or names of tasks, not both"),
    ],
)
def test_what_is_no_suite_is_refused(suite, names, message):
    with pytest.raises(ValueError, match=message):
        tasks_of(suite, names)
