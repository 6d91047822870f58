"""What tests/conftest.py promises to every other test."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_mixed_ranks_and_dtypes_are_refused_on_two_devices():
    with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
        _ = jnp.ones((2, 3)) + jnp.ones(3)
    with pytest.raises(jax.dtypes.TypePromotionError, match="no available implicit dtype promotion"):
        _ = jnp.ones(3, jnp.float32) + jnp.ones(3, jnp.int32)
    assert jax.local_device_count() >= 2


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, ("1 skipped", "without ../shared")), ("absent", ("1 error", "is not a folder"))],
)
def test_missing_shared_data_shows_in_the_summary(named, expected, tmp_path):
    """Without shared data a test is skipped, and counted; a wrong CELO_SHARED is an error."""
    tests = tmp_path / "project" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_x.py").write_text("def test_a(shared): pass\n")
    (tests / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tests / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    environment = {name: value for name, value in os.environ.items() if name != "CELO_SHARED"}
    if named:
        environment["CELO_SHARED"] = str(tmp_path / named)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_x.py"]
    done = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=120)
    assert all(text in done.stdout for text in expected), done.stdout + done.stderr
