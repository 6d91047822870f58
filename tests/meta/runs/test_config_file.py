"""The configuration of a run: written down once, and another one is refused key by key."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from celo.meta.runs import config_file
from celo.meta.runs.config_file import RunWarning, read_config
from celo.meta.runs.run import RunFolder

CONFIG = {"stage": 1, "outer": {"lr": 3e-4, "clip": float("inf")}, "tasks": ["mnist", "cifar10"]}


def open_run(path: Path, config: Any = CONFIG, **options: Any) -> RunFolder:
    return RunFolder.open(path, config, **options)


def test_a_new_run_writes_down_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first"
    with open_run(path) as run:
        assert run.path == path
    content = read_config(path)
    assert content["config"] == CONFIG | {"outer": {"lr": 3e-4, "clip": "Infinity"}}
    made = content["provenance"]
    assert (made["versions"]["jax"], made["versions"]["numpy"]) == (jax.__version__, np.__version__)
    assert set(made["versions"]) == {"python", "celo", "jax", "jaxlib", "numpy", "optax"}
    device = jax.devices()[0]
    expected = {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()}
    assert made["devices"] == expected
    assert made["git"] is None or len(made["git"]["revision"]) == 40
    assert made["created"].endswith("+00:00")
    assert content["resumed"] == []


def test_the_same_configuration_resumes_silently(tmp_path: Path) -> None:
    open_run(tmp_path / "run").close()
    before = (tmp_path / "run" / "config.json").read_bytes()
    open_run(tmp_path / "run", CONFIG | {"tasks": ("mnist", "cifar10")}).close()
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_another_configuration_is_refused_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with open_run(path) as run:
        run.save(1, np.int32(1))
    other = {"stage": 2, "outer": {"lr": 1e-3, "clip": float("inf"), "decay": 0.1}}
    with pytest.raises(ValueError, match="another configuration") as raised:
        open_run(path, other)
    lines = str(raised.value).splitlines()
    for found in ("stage: 1", "outer.lr: 0.0003", "tasks: ['mnist', 'cifar10']", "outer.decay: '<absent>'"):
        assert any(line.startswith(f"  {found} in the run, ") for line in lines)
    assert "outer.clip" not in str(raised.value)
    open_run(path).close()  # the refusal let go of the lock


def test_without_a_checkpoint_another_configuration_starts_anew(tmp_path: Path) -> None:
    """A command that failed before it did anything can be corrected; what it measured does not count."""
    path = tmp_path / "run"
    with open_run(path) as run:
        run.metrics.log(2, {"loss": 1.0})
        run.save_best(2, np.int32(2), -1.0)
    (path / "wandb.json").write_text("{}")
    other = CONFIG | {"stage": 2}
    with pytest.warns(RunWarning, match="no checkpoint yet; it starts with the new one"):
        run = open_run(path, other)
    with run:
        assert run.restore_latest(np.int32(0)) is None
        assert run.best() is None
        assert (path / "metrics.jsonl").read_bytes() == b""
    assert read_config(path)["config"]["stage"] == 2
    assert not (path / "wandb.json").exists()
    (path / "theta.safetensors").touch()  # a result is something to lose
    with pytest.raises(ValueError, match="another configuration"):
        open_run(path)


def test_other_versions_warn_and_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    open_run(path).close()
    then = config_file.provenance()
    later = then | {"versions": then["versions"] | {"jax": "99.0"}, "created": "2099"}
    monkeypatch.setattr(config_file, "provenance", lambda: dict(later))
    with pytest.warns(RunWarning, match=rf"versions\.jax was '{jax.__version__}', is '99\.0'$"):
        open_run(path).close()
    assert read_config(path)["resumed"] == [{"at": "2099", "changed": {"versions.jax": "99.0"}}]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b'{"config": {}, "provenance": {}}', b'{"config": 1}', b"[]", b"[" * 100_000],
    ids=["empty", "not text", "section missing", "wrong type", "list", "deep"],
)
def test_a_corrupt_config_is_refused(tmp_path: Path, content: bytes) -> None:
    open_run(tmp_path / "run").close()
    (tmp_path / "run" / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is not readable: .*use another run folder"):
        open_run(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == content


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"outer": {"fn": len}}, r"config\.outer\.fn is a builtin_function_or_method"),
        ({"tasks": [1, {2, 3}]}, r"config\.tasks\[1\] is a set"),
        ({"families": {3: "x"}}, r"config\.families has the key 3; keys must be strings"),
        ([("stage", 1)], r"config is a list"),
    ],
)
def test_a_configuration_json_cannot_hold_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        open_run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
