"""Sharded parameters: the state lies where they lie, and only sums travel between devices."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OPTIMIZERS = ["celo", "celo_adam", "velo_s", "adafac_mlp", "celo2_base"]
QUICK = ("celo_adam", "celo")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in OPTIMIZERS]
)
def test_a_sharded_step_gathers_no_tensor_and_equals_the_step_on_one_device(name: str):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.celo.sharded_steps", name],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report.keys() == {"fsdp", "tensor"}
    for layout, found in report.items():
        assert set(found["collectives"]) <= {"all-reduce"}, layout
        assert found["misplaced"] == [], layout
        assert found["difference"] < 1e-5, layout
