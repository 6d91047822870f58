"""Memory as the machine, or the container it is in, states it."""

import jax
import pytest

from celo.evaluation.memory import bytes_per_device, equal_chunks, host_bytes

MEMINFO = "MemTotal:       32000 kB\nMemFree:         100 kB\nMemAvailable:    8000 kB\n"


@pytest.fixture
def meminfo(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def test_what_is_available_counts(meminfo, tmp_path):
    assert host_bytes(meminfo, tmp_path / "none") == 8000 * 1024


@pytest.mark.parametrize(("limit", "left"), [("max", 8000 * 1024), ("3000000", 2_000_000), ("900000", 0)])
def test_a_container_has_no_more_than_its_limit(meminfo, tmp_path, limit, left):
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert host_bytes(meminfo, tmp_path) == left


def test_without_either_it_is_half_the_machine(tmp_path):
    assert host_bytes(tmp_path / "none", tmp_path) > 2**20


def test_devices_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr("celo.evaluation.memory.host_bytes", lambda: 1000)
    assert bytes_per_device(jax.devices("cpu")[0]) == 800 // len(jax.local_devices(backend="cpu"))


class Accelerator:
    platform = "gpu"

    def memory_stats(self):
        return {"bytes_limit": 1000, "bytes_in_use": 200}


def test_an_accelerator_states_its_own():
    assert bytes_per_device(Accelerator()) == 640


def test_chunks_cover_everything():
    for count in range(1, 20):
        for most in range(1, 25):
            chunks, size = equal_chunks(count, most)
            assert size <= most
            assert (chunks - 1) * size < count <= chunks * size
