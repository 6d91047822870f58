"""The test harness itself: what tests/conftest.py promises to every other test."""

import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def _mix_ranks():
    return jnp.ones((2, 3)) + jnp.ones(3)


def _mix_dtypes():
    return jnp.ones(3, jnp.float32) + jnp.ones(3, jnp.int32)


def test_mixed_ranks_and_dtypes_are_refused():
    with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
        _mix_ranks()
    with pytest.raises(jax.dtypes.TypePromotionError, match="no available implicit dtype promotion"):
        _mix_dtypes()


@pytest.mark.lenient(reason="it tests the marker")
def test_a_lenient_test_may_mix_them():
    np.testing.assert_array_equal(_mix_ranks(), np.full((2, 3), 2))
    assert _mix_dtypes().dtype == jnp.float32


def test_two_devices():
    assert jax.local_device_count() >= 2


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning, match="noticed"):
        warnings.warn("noticed", stacklevel=1)


def test_a_parity_vector_is_read_only(parity):
    arrays = parity("random/lossbuffer")
    assert arrays
    with pytest.raises(ValueError, match="read-only"):
        next(iter(arrays.values()))[...] = 0


def _run_pytest(file: Path, text: str, **environment: str) -> str:
    """Run pytest on one file placed under this conftest, in a process of its own."""
    file.write_text(text)
    (file.parent / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (file.parent / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)]
    inherited = {"PATH": "", "HOME": str(file.parent)}
    result = subprocess.run(
        command, cwd=file.parent, env=inherited | environment, capture_output=True, text=True, timeout=120
    )
    return result.stdout + result.stderr


def test_missing_shared_data_is_said_at_the_end(tmp_path):
    folder = tmp_path / "project" / "tests"
    folder.mkdir(parents=True)
    text = "def test_a(parity): parity('released/celo')\ndef test_b(shared): pass\ndef test_c(): pass\n"
    output = _run_pytest(folder / "test_x.py", text)
    assert "1 passed, 2 skipped" in output
    assert "2 skipped for want of ../shared" in output
    assert "parity/released/celo.npz is absent" in output


def test_a_wrong_celo_shared_is_an_error_not_a_skip(tmp_path):
    folder = tmp_path / "project" / "tests"
    folder.mkdir(parents=True)
    output = _run_pytest(folder / "test_x.py", "def test_a(shared): pass\n", CELO_SHARED=str(tmp_path / "no"))
    assert "1 error" in output
    assert "is not a folder" in output


def test_a_lenient_test_must_say_why(tmp_path):
    text = "import pytest\n@pytest.mark.lenient\ndef test_a(): pass\n"
    folder = tmp_path / "project" / "tests"
    folder.mkdir(parents=True)
    assert "write @pytest.mark.lenient(reason=" in _run_pytest(folder / "test_x.py", text)
