"""Meta-parameters that are whole, and wrong: refused when loaded, and not saved in the first place."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax.numpy as jnp
import numpy as np
import pytest

import celo
from celo import interop
from celo._core import safetensors_file, trees
from tests.celo.checkpoint_contents import FLAT, HEADER, NOT_A_NUMBER, THETA, UPSTREAM, replaced


@pytest.mark.parametrize(
    ("header", "flat", "message"),
    [
        ({}, replaced("mlp/b2", NOT_A_NUMBER), "theta: 2 of the 3 numbers in leaf mlp/b2 are not finite"),
        (
            {},
            replaced("mlp/b2", np.zeros(2, np.float32)),
            r"theta: .*\['b2'\]: expected float32\[3\], found float32\[2\]",
        ),
        ({}, replaced("mlp/b2", np.zeros(3, np.int32)), r"\['b2'\]: expected float32\[3\], found int32\[3\]"),
        ({}, replaced("mlp/b2", None), r"theta: theta does not fit Celo.*: missing leaf \['mlp'\]\['b2'\]"),
        ({}, replaced("mlp/b2/x", np.zeros(1, np.float32)), "path mlp/b2"),
        ({}, replaced("opt", np.zeros(1, np.float32)), r"unexpected leaf \['opt'\] of float32\[1\]"),
        ({"optimizer": "cello"}, FLAT, r"theta: Unknown learned optimizer 'cello'\. Did you mean 'celo'"),
        (
            {"optimizer": "celo_adam", "config": {}},
            FLAT,
            r"theta: theta does not fit CeloAdam.*leaf \['mlp'\]",
        ),
        ({"optimizer": None}, FLAT, "theta is corrupt: its header has no optimizer"),
        ({"config": {"stage": 7}}, FLAT, "theta: stage is 7; expected 1"),
        ({"config": {"phase": 1}}, FLAT, "theta: celo has no option 'phase'"),
        ({"config": None}, FLAT, "theta is corrupt: its header has no optimizer with a configuration"),
    ],
)
def test_contents_that_do_not_fit(load: Callable[..., Any], header: dict[str, Any], flat: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load(safetensors_file.encode({**HEADER, **header}, flat))


def upstream(change: dict[str, Any]) -> bytes:
    return flax.serialization.msgpack_serialize(
        trees.unflatten({**interop.to_upstream("celo", THETA), **change})
    )


BIAS = "rnn_params/step_size/b"


@pytest.mark.parametrize(
    ("data", "named", "message"),
    [
        (upstream({BIAS: np.full(1, math.nan, np.float32)}), {}, f"theta: .* in leaf {BIAS} are not finite"),
        (upstream({BIAS: np.zeros(2, np.float32)}), {}, f"most like celo: leaf {BIAS}: expected"),
        (upstream({"more": np.zeros(2, np.float32)}), {}, "most like celo: unexpected leaf more of"),
        (
            UPSTREAM,
            {"name": "celo_adam"},
            "not upstream's meta-parameters of celo_adam: unexpected leaf ff_mod",
        ),
        (UPSTREAM, {"name": "cello"}, "theta: Unknown learned optimizer 'cello'"),
        (
            flax.serialization.msgpack_serialize({"a": {}}),
            {},
            "theta is truncated or corrupt: ValueError: a is an empty",
        ),
        (flax.serialization.msgpack_serialize({"step": 3}), {}, "these arrays fit none of celo"),
    ],
)
def test_upstream_contents_that_do_not_fit(
    load: Callable[..., Any], data: bytes, named: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        load(data, **named)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": "cello"}, ValueError, "Unknown learned optimizer 'cello'"),
        ({"config": {"phase": 1}}, TypeError, "celo has no option 'phase'"),
        ({"config": {"stage": 7}}, ValueError, "stage is 7"),
        ({"theta": trees.unflatten(replaced("mlp/b2", None))}, ValueError, r"missing leaf \['mlp'\]\['b2'\]"),
        (
            {"theta": trees.unflatten(replaced("mlp/b2", NOT_A_NUMBER))},
            ValueError,
            "theta: 2 of the 3 numbers in leaf mlp/b2 are not finite",
        ),
        ({"provenance": {"task": object()}}, ValueError, "provenance cannot be written as JSON: .*object"),
        ({"provenance": {"loss": math.nan}}, ValueError, "provenance cannot be written as JSON: .*nan"),
        ({"path": "nowhere/theta"}, FileNotFoundError, "the folder nowhere for theta does not exist"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else None,
)
def test_what_save_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    whole: dict[str, Any] = {"path": "theta", "name": "celo", "config": {}, "theta": THETA}
    with pytest.raises(kind, match=message):
        celo.save(**{**whole, **arguments})
    assert not os.listdir(tmp_path)


def test_paths_are_flattened_without_collisions():
    assert trees.unflatten(trees.flatten(THETA)).keys() == THETA.keys()
    with pytest.raises(ValueError, match="two leaves have the path a/b"):
        trees.flatten({"a": {"b": 1}, "a/b": 2})
    with pytest.raises(TypeError, match="a has the key 1; expected strings"):
        trees.flatten({"a": {1: 2}})
    with pytest.raises(ValueError, match="a/b is an empty dictionary"):
        trees.flatten({"a": {"b": {}}})
    assert trees.flatten(jnp.ones(1)).keys() == {""}
