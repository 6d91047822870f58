"""The grid as data: every row is the change it says it is, to every preset, and can be meta-trained."""

import json
from collections.abc import Mapping

import pytest

from celo.ablations.grid import CELO, GRID, TABLES, rows
from celo.meta.initial_theta import check_recipe
from celo.meta.presets import PRESETS
from celo.meta.presets import preset as make_preset

# What differs from Celo's recipe of the preset cpu, by row; one stage has as many meta-iterations as two.
BOTH = {"stages": 1, "stage1.iterations": 7500}
CHANGES = {
    "celo": {},
    "no_scheduler": BOTH,
    "one_stage": {**BOTH, "stage1.trains": "both"},
    "tensor_features": {"options": ("tensor_features=True",)},
    "linear": {"options": ("form=linear",)},
    "linear_clip": {"options": ("form=linear_clip",)},
    "celo_adam": {**BOTH, "stage1.trains": "both", "optimizer": "celo_adam"},
    "aug_none_none": {"stage1.augmentation": "none", "stage2.augmentation": "none"},
    "aug_global_none": {"stage2.augmentation": "none"},
    "aug_none_global": {"stage1.augmentation": "none"},
    "aug_tensor_global": {"stage1.augmentation": "tensor"},
    "aug_global_tensor": {"stage2.augmentation": "tensor"},
    "aug_mixed_mixed": {"stage1.augmentation": "mixed", "stage2.augmentation": "mixed"},
    "aug_tensor_tensor": {"stage1.augmentation": "tensor", "stage2.augmentation": "tensor"},
}
for name in ("nn_adam", "rnn_mlp", "adafac_mlp", "velo_s"):
    CHANGES[name] = {**BOTH, "stage1.trains": "both", "optimizer": name}
    CHANGES[f"{name}_plain"] = {**CHANGES[name], "stage1.augmentation": "none"}


def flat(config, prefix=""):
    found = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def base(preset):
    return lambda optimizer: make_preset(preset, optimizer)


@pytest.mark.parametrize("row", GRID, ids=lambda row: row.name)
def test_a_row_is_the_change_it_says_it_is(row):
    plain = flat(PRESETS["cpu"].config())
    changed = flat(row.recipe(base("cpu")).config())
    assert {name: value for name, value in changed.items() if value != plain[name]} == CHANGES[row.name]
    assert row.table in TABLES


def test_every_row_is_there_once_and_celo_first():
    assert sorted(row.name for row in GRID) == sorted(CHANGES)
    assert GRID[0].name == CELO


@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_can_be_meta_trained(preset):
    for row in GRID:
        check_recipe(row.recipe(base(preset)))


def test_the_preset_quick_gives_every_optimizer_what_suits_it():
    (row,) = (row for row in GRID if row.name == "velo_s_plain")
    assert row.recipe(base("quick")).options == make_preset("quick", "velo_s").options


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (((), ()), [row.name for row in GRID]),
        ((("linear", "velo_s"), ()), ["celo", "linear", "velo_s"]),
        (((), ("augmentation",)), ["celo", *(name for name in CHANGES if name.startswith("aug"))]),
        ((("linear",), ("parts",)), list(CHANGES)[:7]),
    ],
)
def test_rows_are_chosen_by_name_and_table_with_celo_among_them(asked, found):
    assert [row.name for row in rows(*asked)] == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [((["liner"], ()), "Unknown row 'liner'. Did you mean 'linear'"), (((), ["part"]), "mean 'parts'")],
)
def test_unknown_names_are_refused_with_the_nearest(asked, message):
    with pytest.raises(ValueError, match=message):
        rows(*asked)


def test_published_scores_are_those_of_the_paper(shared_path):
    facts = json.loads(shared_path("facts/celo_paper.json").read_text())
    published = {row.name: row.published for row in GRID}
    parts = {name: iqm for name, (iqm, *_) in list(facts["table3"].items())[1:]}
    names = {"without_scheduler": "no_scheduler", "scheduler_with_tensor_features": "tensor_features"}
    names |= {"form_linear": "linear", "form_linear_clip": "linear_clip", "two_stage": "celo"}
    for theirs in ("celo", "celo_adam", "one_stage", *names):
        assert published[names.get(theirs, theirs)] == parts[theirs]
    words = {False: "none", True: "global", "mix": "mixed"}
    for table in ("table2b_aug_per_stage", "table6_aug_level"):
        for first, second, iqm, _ in facts[table]["rows"]:
            pair = f"{words.get(first, first)}_{words.get(second, second)}"
            assert published["celo" if pair == "global_global" else f"aug_{pair}"] == iqm
    for name in ("nn_adam", "rnn_mlp", "adafac_mlp", "velo_s"):
        assert published[name] == facts["table1_with_task_augmentation"][name][2]
        assert published[f"{name}_plain"] == facts["table4_without_augmentation"][name][2]
