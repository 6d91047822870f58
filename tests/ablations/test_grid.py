"""The grid as data: every row is the change it says it is, to every preset, and can be meta-trained."""

import json
from collections.abc import Mapping

import pytest

from celo.ablations.grid import CELO, GRID, TABLES, rows, run_names
from celo.ablations.published import published
from celo.meta.initial_theta import check_recipe
from celo.meta.presets import PRESETS
from celo.meta.presets import preset as make_preset

# What differs from Celo's recipe of the preset cpu, by row; one stage is as long as the preset's own.
ONE = {"stages": 1}
BOTH = {**ONE, "stage1.trains": "both"}
CHANGES = {
    "celo": {},
    "no_scheduler": ONE,
    "one_stage": BOTH,
    "tensor_features": {"options": ("tensor_features=True",)},
    "linear": {"options": ("form=linear",)},
    "linear_clip": {"options": ("form=linear_clip",)},
    "celo_adam": {
        **ONE,
        "stage1.trains": "scheduler",
        "stage1.iterations": 2500,
        "optimizer": "celo_adam",
    },
    "aug_none_none": {"stage1.augmentation": "none", "stage2.augmentation": "none"},
    "aug_global_none": {"stage2.augmentation": "none"},
    "aug_none_global": {"stage1.augmentation": "none"},
    "aug_tensor_global": {"stage1.augmentation": "tensor"},
    "aug_global_tensor": {"stage2.augmentation": "tensor"},
    "aug_mixed_mixed": {"stage1.augmentation": "mixed", "stage2.augmentation": "mixed"},
    "aug_tensor_tensor": {"stage1.augmentation": "tensor", "stage2.augmentation": "tensor"},
}
for name in ("nn_adam", "rnn_mlp", "adafac_mlp", "velo_s"):
    CHANGES[name] = {**BOTH, "optimizer": name}
    CHANGES[f"{name}_plain"] = {**CHANGES[name], "stage1.augmentation": "none"}
CHANGES["velo"] = {**BOTH, "optimizer": "velo", "stage1.augmentation": "none"}
for end, steps in ("1k", 1000), ("2k", 2000), ("5k", 5000):
    changed = {} if end == "2k" else {"stage1.horizon_high": steps}  # 2,000 steps is the preset's own
    CHANGES[f"velo_s_{end}"] = {**BOTH, "optimizer": "velo_s", **changed}
    CHANGES[f"celo_{end}"] = changed | ({"stage2.horizon_high": steps} if changed else {})
MADE = [row for row in GRID if not row.weights]


def flat(config, prefix=""):
    found = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def base(preset):
    return lambda optimizer: make_preset(preset, optimizer)


@pytest.mark.parametrize("row", MADE, ids=lambda row: row.name)
def test_a_row_is_the_change_it_says_it_is(row):
    plain = flat(PRESETS["cpu"].config())
    changed = flat(row.recipe(base("cpu")).config())
    assert {name: value for name, value in changed.items() if value != plain[name]} == CHANGES[row.name]
    assert row.table in TABLES


def test_every_row_is_there_once_and_celo_first():
    assert sorted(row.name for row in GRID) == sorted([*CHANGES, "velo_4000"])
    assert GRID[0].name == CELO
    long = ["celo_2k", "velo_s_2k", "celo_1k", "velo_s_1k", "celo_5k", "velo_s_5k"]
    assert [row.name for row in GRID if row.long] == long


def test_single_stage_optimizers_get_the_100_000_meta_iterations_of_appendix_a3():
    for row in MADE:
        recipe = row.recipe(base("paper"))
        assert {stage.iterations for stage in recipe.stages} == {100_000}


def test_rows_share_runs_and_first_stages():
    names = run_names(base("cpu"))

    def first(name):
        (row,) = (row for row in GRID if row.name == name)
        return names[row.recipe(base("cpu")).first_stage()]

    shared = ("celo", "linear", "linear_clip", "tensor_features", "aug_global_none", "aug_global_tensor")
    assert {first(name) for name in shared} == {"no_scheduler"}
    assert first("aug_none_none") == first("aug_none_global") == "stage1_aug_none_none"
    assert first("aug_tensor_tensor") == first("aug_tensor_global") == "stage1_aug_tensor_global"
    runs = {row.name: names[row.recipe(base("cpu"))] for row in MADE}
    assert (runs["celo_2k"], runs["velo_s_2k"]) == ("celo", "velo_s")  # the preset's own horizon
    assert all(name == run for name, run in runs.items() if not name.endswith("_2k"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_can_be_meta_trained(preset):
    for row in MADE:
        check_recipe(row.recipe(base(preset)))


def test_the_preset_quick_gives_every_optimizer_what_suits_it():
    (row,) = (row for row in GRID if row.name == "velo_s_plain")
    assert row.recipe(base("quick")).options == make_preset("quick", "velo_s").options


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (((), ()), [row.name for row in GRID]),
        ((("linear", "velo_s"), ()), ["celo", "linear", "velo_s"]),
        ((("celo_5k",), ("velo",)), ["celo", "velo", "velo_4000", "celo_2k", "celo_5k"]),
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
    found = published()
    assert found.keys() <= {row.name for row in GRID}
    pairs = {name: (one.iqm, one.gap) for name, one in found.items()}
    names = {"without_scheduler": "no_scheduler", "scheduler_with_tensor_features": "tensor_features"}
    names |= {"form_linear": "linear", "form_linear_clip": "linear_clip", "two_stage": "celo"}
    for theirs in ("celo", "celo_adam", "one_stage", *names):
        assert pairs[names.get(theirs, theirs)] == tuple(facts["table3"][theirs])
    words = {False: "none", True: "global", "mix": "mixed"}
    for table in ("table2b_aug_per_stage", "table6_aug_level"):
        for first, second, *scores in facts[table]["rows"]:
            pair = f"{words.get(first, first)}_{words.get(second, second)}"
            assert pairs["celo" if pair == "global_global" else f"aug_{pair}"] == tuple(scores)
    for name in ("velo", "velo_4000"):
        assert pairs[name] == tuple(facts["table5_velo"][name][1:])
    for name in ("celo", "nn_adam", "rnn_mlp", "adafac_mlp", "velo_s"):
        assert whole(found[name]) == facts["table1_with_task_augmentation"][name]
        if name != "celo":
            assert whole(found[f"{name}_plain"]) == facts["table4_without_augmentation"][name]
    assert f"celo {found['celo_5k'].iqm}, velo_s {found['velo_s_5k'].iqm}" in facts["scaling_A4"]


def whole(one):
    """The columns of tables 1 and 4."""
    final = [one.median, one.gap, one.iqm]
    return [*final, one.speedup_median, one.speedup_gap, one.speedup_iqm]
