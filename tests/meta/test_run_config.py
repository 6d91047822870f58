"""The configuration of a run: written down once, and another one is refused key by key."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from celo.meta.runs import config_file
from celo.meta.runs.config_file import RunWarning, read_config
from tests.meta.run_folders import CONFIG, open_run


def test_a_new_run_writes_down_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first"
    with open_run(path) as run:
        assert run.path == path
    content = read_config(path)
    assert content["config"] == CONFIG | {"outer": {"lr": 3e-4, "clip": "Infinity"}}
    made = content["provenance"]
    assert made["versions"]["jax"] == jax.__version__
    assert made["versions"]["numpy"] == np.__version__
    assert set(made["versions"]) == {"python", "celo", "jax", "jaxlib", "numpy", "optax"}
    assert made["devices"] == {
        "platform": jax.devices()[0].platform,
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
    }
    assert made["git"] is None or len(made["git"]["revision"]) == 40
    assert made["created"].endswith("+00:00")
    assert content["resumed"] == []


def test_the_same_configuration_goes_on_without_a_word(tmp_path: Path) -> None:
    open_run(tmp_path / "run").close()
    before = (tmp_path / "run" / "config.json").read_bytes()
    open_run(tmp_path / "run", CONFIG | {"tasks": ("mnist", "cifar10")}).close()
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_another_configuration_is_refused_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "run"
    open_run(path).close()
    other = {"stage": 2, "outer": {"lr": 1e-3, "clip": float("inf"), "decay": 0.1}}
    with pytest.raises(ValueError, match="another configuration") as raised:
        open_run(path, other)
    message = str(raised.value)
    assert "\n  stage: 1 in the run, 2 asked for\n" in message
    assert "\n  outer.lr: 0.0003 in the run, 0.001 asked for\n" in message
    assert "\n  tasks: ['mnist', 'cifar10'] in the run, '<absent>' asked for\n" in message
    assert "\n  outer.decay: '<absent>' in the run, 0.1 asked for\n" in message
    assert "outer.clip" not in message
    assert "--run-dir" in message
    open_run(path).close()  # the refusal let go of the lock


def test_mutable_keys_may_change_and_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = {"seed": 0, "tracker": {"name": "jsonl", "mode": "online"}}
    changed = {"seed": 0, "tracker": {"name": "wandb", "mode": "online"}}
    open_run(path, config, mutable_keys=["tracker"]).close()
    with open_run(path, changed, mutable_keys=["tracker"]) as run:
        assert run.config == changed
    content = read_config(path)
    assert content["config"] == config
    assert [entry["changed"] for entry in content["resumed"]] == [{"tracker.name": "wandb"}]
    with pytest.raises(ValueError, match="seed: 0 in the run, 1 asked for"):
        open_run(path, changed | {"seed": 1}, mutable_keys=["tracker"])


def test_an_unknown_mutable_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mutable key 'outer\.Ir'.*'outer\.lr'"):
        open_run(tmp_path / "run", mutable_keys=["outer.Ir"])
    assert not (tmp_path / "run").exists()


def test_other_versions_are_told_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    open_run(path).close()
    then = config_file.provenance()
    later = then | {"versions": then["versions"] | {"jax": "99.0"}, "created": "2099"}
    monkeypatch.setattr(config_file, "provenance", lambda: dict(later))
    with pytest.warns(RunWarning, match=rf"versions\.jax was '{jax.__version__}', is '99\.0'$"):
        open_run(path).close()
    assert read_config(path)["resumed"] == [{"at": "2099", "changed": {"versions.jax": "99.0"}}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "JSONDecodeError"),
        (b'{"config": {', "JSONDecodeError"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (b'{"config": {}, "provenance": {}}', "KeyError"),
        (b'{"config": 1}', "TypeError"),
        (b"[]", "TypeError"),
    ],
)
def test_a_corrupt_config_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    open_run(tmp_path / "run").close()
    (tmp_path / "run" / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json is not readable \({reason}.*use another run folder"):
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
