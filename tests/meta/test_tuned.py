"""Presets by optimizer: Celo's is the preset itself, others change what they say and nothing else."""

import dataclasses

import pytest

from celo import LEARNED
from celo.meta.recipe import PRESETS, preset
from celo.meta.tuned import QUICK, Tuned, tuned_preset
from celo.scripts.meta_train import parse


@pytest.mark.parametrize("name", PRESETS)
def test_celo_has_the_preset(name):
    assert tuned_preset(name) == preset(name)


@pytest.mark.parametrize("optimizer", LEARNED)
def test_only_quick_is_changed_and_only_what_is_listed(optimizer):
    for name in PRESETS:
        found = tuned_preset(name, optimizer)
        if name == "quick" and optimizer in QUICK:
            entry = QUICK[optimizer]
            fields = ("learning_rate", "sigma", "augmentation", "problems")
            for stage in found.plan():
                assert [getattr(stage, f) for f in fields] == [getattr(entry, f) for f in fields]
            assert found.options == entry.options
            plain = {f: getattr(preset(name).stage1, f) for f in fields}
            found = dataclasses.replace(
                found,
                options=(),
                stage1=dataclasses.replace(found.stage1, **plain),
                stage2=dataclasses.replace(found.stage2, **plain),
            )
        assert found == dataclasses.replace(preset(name), optimizer=optimizer)


def test_the_entries_start_from_the_preset():
    """So that an entry has only to say what differs."""
    stage, plain = preset("quick").stage1, dataclasses.asdict(Tuned())
    assert plain.pop("options") == preset("quick").options
    assert {name: getattr(stage, name) for name in plain} == plain
    assert set(QUICK) <= set(LEARNED)
    assert Tuned() not in QUICK.values()


def test_the_command_line_takes_them_and_can_override_them():
    found = parse(["--optimizer", "nn_adam", "--stage2.sigma", "0.5"]).recipe
    assert found.stage1 == tuned_preset("quick", "nn_adam").stage1
    assert found.stage2 == dataclasses.replace(found.stage1, part=2, iterations=500, sigma=0.5)
    assert parse(["--optimizer=velo_s"]).recipe.options == ("ff_mult=30.0",)
    assert parse(["--optimizer", "velo_s", "--options", "ff_mult=1.0"]).recipe.options == ("ff_mult=1.0",)


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown optimizer 'vello'"):
        tuned_preset("quick", "vello")
    with pytest.raises(ValueError, match="Unknown preset 'slow'"):
        tuned_preset("slow", "velo")
