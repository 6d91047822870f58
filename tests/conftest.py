"""What every test runs under: strict promotion, two CPU devices, and data found or visibly missing."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _share_the_cores() -> None:
    """Give every xdist worker its part of the cores; by default each would start a thread per core."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        for variable in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # NPROC is the one XLA reads
            os.environ.setdefault(variable, threads)


# All of this has to be in the environment before JAX is imported; programs that tests start inherit it.
_share_the_cores()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # JAX's own 1 s skips most tests
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis  # noqa: E402 - after the environment is set
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

_STRICT = {"jax_numpy_rank_promotion": "raise", "jax_numpy_dtype_promotion": "strict"}
_LENIENT = {"jax_numpy_rank_promotion": "allow", "jax_numpy_dtype_promotion": "standard"}
_MISSING = "needs shared data: "

if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    jax.config.update("jax_num_cpu_devices", 2)  # not through XLA_FLAGS, which started programs inherit


def _configure_jax(options: dict[str, str]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)


_configure_jax(_STRICT)

# The first example pays for the compilation, so neither time limit means anything here.
hypothesis.settings.register_profile(
    "celo", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("celo"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "celo")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked lenient, and every example of a docstring, under JAX's own promotion rules.

    An example shows what a user sees, who has not turned strictness on.
    """
    if item.get_closest_marker("lenient") is None and not isinstance(item, pytest.DoctestItem):
        return (yield)
    _configure_jax(_LENIENT)
    try:
        return (yield)
    finally:
        _configure_jax(_STRICT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report how many tests were skipped without the shared data."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(_MISSING in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} skipped without ../shared (set CELO_SHARED to name another place)"
        )


def _shared_folder() -> Path:
    """Return the folder of shared data; an explicit CELO_SHARED must exist, the default may be absent."""
    stated = os.environ.get("CELO_SHARED")
    if stated is None:
        return ROOT.parent / "shared"
    if not Path(stated).is_dir():
        raise FileNotFoundError(f"CELO_SHARED={stated!r} is not a folder")
    return Path(stated)


def _shared_path(relative: str) -> Path:
    path = _shared_folder() / relative
    if not path.exists():
        pytest.skip(f"{_MISSING}{path} is absent")
    return path


@cache
def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    for array in arrays.values():
        array.setflags(write=False)  # the cache hands the same arrays to every test
    return arrays


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory() -> Iterator[None]:
    """Drop the compiled programs of a test module; JAX keeps each of them for the life of the process.

    The C library keeps freed memory too, until it is asked to return it.
    """
    yield
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that is out of reach at once: the library asks the real one again and again, for a minute."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data beside the project; the test is skipped where there is none."""
    return _shared_path(".")


@pytest.fixture(scope="session")
def shared_path() -> Callable[[str], Path]:
    """A function from a path inside the shared folder to its place, which skips where it is absent."""
    return _shared_path


@pytest.fixture(scope="session")
def parity() -> Callable[[str], dict[str, np.ndarray]]:
    """A function from a name such as ``random/celo_rand`` to the reference arrays of that name.

    Vectors kept in ``tests/data/parity`` need no shared folder; others skip the test where it is absent.
    """

    def load(name: str) -> dict[str, np.ndarray]:
        kept = ROOT / "tests" / "data" / "parity" / f"{name}.npz"
        return dict(_read_arrays(kept if kept.exists() else _shared_path(f"parity/{name}.npz")))

    return load


@pytest.fixture(scope="session")  # a key is immutable
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)
