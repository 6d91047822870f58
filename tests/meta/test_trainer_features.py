"""Features of a stage in whole runs: each resumes bit for bit, and theta is averaged at the end."""

import dataclasses

import numpy as np
import pytest

from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.metrics import read_metrics
from celo.meta.trainer import _Training, meta_train
from tests.meta import tiny_recipe
from tests.meta.tiny_recipe import QUIET

pytestmark = pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")

STAGE = dataclasses.replace(tiny_recipe.STAGE, iterations=8)
RECIPE = dataclasses.replace(
    tiny_recipe.RECIPE, optimizer="learnable_adam", stages=(STAGE,), validate_every=4
)
FEATURES = {
    "es_single of the final loss": ("learnable_adam", {"estimator": "es_single", "objective": "final"}),
    "buffer of pes": ("learnable_adam", {"resume_buffer": 0.8}),
    "buffer of es_single": ("learnable_adam", {"estimator": "es_single", "resume_buffer": 0.8}),
    "averaging and warm-up": ("learnable_adam", {"average": 0.5, "warmup": 3, "horizon": "piecewise"}),
    "learned outer optimizer": ("learnable_adam", {"outer": "celo"}),
    "backprop": ("learnable_adam", {"estimator": "backprop", "objective": "log"}),
    "expert": ("adafac_mlp", {"expert": "muon"}),
    "schedule_es": ("celo_adam", {"estimator": "schedule_es", "trains": "scheduler", "normalize": True}),
}


ROWS = [
    pytest.param(*row, id=name, marks=[pytest.mark.slow] if name in ("expert", "schedule_es") else [])
    for name, row in FEATURES.items()
]


@pytest.mark.parametrize(("optimizer", "changes"), ROWS)
def test_an_interrupted_run_gives_what_an_uninterrupted_one_gives(tmp_path, monkeypatch, optimizer, changes):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer).change_stages(changes)
    whole = meta_train(recipe, tmp_path / "whole", QUIET)
    for calls in (1, 2):
        left = iter([False] * calls)
        monkeypatch.setattr(_Training, "stopped", lambda self, left=left: next(left, True))
        assert not meta_train(recipe, tmp_path / "cut", QUIET).finished
    monkeypatch.undo()
    cut = meta_train(recipe, tmp_path / "cut", QUIET)
    assert cut.finished
    assert arrays_fingerprint(cut.theta) == arrays_fingerprint(whole.theta)
    rows = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "cut")]
    for a, b in zip(*rows, strict=True):
        assert {**a, "time": 0, "seconds_per_meta_iteration": 0} == {
            **b,
            "time": 0,
            "seconds_per_meta_iteration": 0,
        }
        assert np.isfinite([a["gradient_snr"], a["difference_snr"]]).all()
