"""Meta-parameters in files: they come back with their configuration; what does not fit is refused."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

import celo
from celo import checkpoint, interop
from celo._core import safetensors_file, trees
from tests.celo.checkpoint_contents import (
    FLAT,
    HEADER,
    NOT_A_NUMBER,
    THETA,
    UPSTREAM,
    assert_equal,
    random_theta,
    replaced,
    upstream_file,
)
from tests.celo.contract import quick_jit

ROWS = [(name, {}) for name in celo.LEARNED] + [("celo", {"stage": 1}), ("celo", {"form": "linear"})]


@pytest.mark.parametrize(("name", "config"), ROWS, ids=str)
def test_what_is_saved_comes_back(tmp_path: Path, name: str, config: dict[str, Any]):
    theta = random_theta(name, **config)
    celo.save(tmp_path / "theta.safetensors", name, config, theta)
    learned, found = celo.load(tmp_path / "theta.safetensors")
    assert learned == celo.learned_optimizer(name, **config)
    assert_equal(found, theta)
    assert {type(leaf) for leaf in jax.tree.leaves(found)} == {type(jnp.ones(1))}
    assert os.listdir(tmp_path) == ["theta.safetensors"]


def test_equal_weights_give_equal_files(tmp_path: Path):
    fortran = jax.tree.map(np.asfortranarray, THETA)
    reordered = {part: dict(reversed(leaves.items())) for part, leaves in reversed(fortran.items())}
    for i, theta in enumerate((THETA, THETA, reordered)):
        celo.save(tmp_path / str(i), "celo", {}, theta, {"b": 1, "a": [2]})
    contents = {(tmp_path / str(i)).read_bytes() for i in range(3)}
    assert len(contents) == 1


def test_the_header_says_everything(tmp_path: Path):
    path = tmp_path / "theta.safetensors"
    about = {"command": "celo meta-train --preset cpu", "tasks": ("mnist", "svhn"), "licence": "Apache-2.0"}
    celo.save(path, "celo", {"stage": 1}, THETA, about)
    header = checkpoint.read_header(path)
    assert (header["format"], header["optimizer"]) == (1, "celo")
    assert header["config"] == {"stage": 1, "form": "exp", "tensor_features": False}, (
        "defaults are written too: they may change"
    )
    expected = {**about, "tasks": ["mnist", "svhn"], "celo_version": celo.__version__}
    assert header["provenance"] == expected | {"jax_version": jax.__version__}
    with safetensors.safe_open(path, framework="numpy") as file:  # any program can read it
        assert json.loads(file.metadata()["celo"]) == header
        np.testing.assert_array_equal(file.get_tensor("scheduler/lstm/w"), THETA["scheduler"]["lstm"]["w"])


def test_fields_may_be_overridden_but_not_the_optimizer(tmp_path: Path):
    celo.save(tmp_path / "theta", "celo", {"stage": 1, "form": "linear"}, THETA)
    assert celo.load(tmp_path / "theta", stage=2)[0] == celo.learned_optimizer("celo", form="linear")
    assert celo.load(tmp_path / "theta", name="celo")[0] == celo.load(tmp_path / "theta")[0]
    with pytest.raises(ValueError, match="theta holds meta-parameters of celo, not of velo"):
        celo.load(tmp_path / "theta", name="velo")
    with pytest.raises(TypeError, match="celo has no option 'stages'"):
        celo.load(tmp_path / "theta", stages=2)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "theta.safetensors"
    celo.save(path, "celo", {}, THETA)

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        celo.save(path, "celo", {"stage": 1}, THETA)
    assert os.listdir(tmp_path) == ["theta.safetensors"]
    assert celo.load(path)[0] == celo.learned_optimizer("celo")


def test_no_symbolic_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A link in the place of the file or of its temporary name leaves what it points to as it was."""
    kept, path = tmp_path / "kept", tmp_path / "theta"
    kept.write_bytes(b"precious")
    path.symlink_to(kept)
    celo.save(path, "celo", {}, THETA)
    assert not path.is_symlink()
    monkeypatch.setattr("secrets.token_hex", lambda count: "known")
    (tmp_path / ".theta.known.tmp").symlink_to(kept)
    with pytest.raises(FileExistsError):
        celo.save(path, "celo", {"stage": 1}, THETA)
    assert kept.read_bytes() == b"precious"
    assert celo.load(path)[0] == celo.learned_optimizer("celo")


def run(optimizer: Any) -> Any:
    params = {"w": jnp.arange(4.0)}
    return quick_jit(lambda p: optimizer.update(p, optimizer.init(p), p, value=jnp.float32(1.0)))(params)


def test_one_line_takes_a_tree_or_a_file(tmp_path: Path):
    path = tmp_path / "theta.safetensors"
    celo.save(path, "celo", {}, THETA)
    expected = run(celo.learned_optimizer("celo").optimizer(THETA, 50))
    for theta in (THETA, path, str(path)):
        assert_equal(run(celo.celo(50, theta)), expected)
    assert_equal(run(celo.load(path).optimizer(50)), expected)
    celo.save(path, "celo", {"stage": 1}, THETA)
    assert run(celo.celo(50, path))[1].scheduler is None  # the configuration is that of the file


def test_one_line_takes_no_other_optimizer(tmp_path: Path):
    other = next(name for name in celo.LEARNED if name != "celo")
    celo.save(tmp_path / "theta", other, {}, random_theta(other))
    with pytest.raises(ValueError, match=f"theta holds meta-parameters of {other}, not of celo"):
        celo.celo(50, tmp_path / "theta")


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with packaged weights "celo" and "tiny", seen from a separate folder."""
    folder, elsewhere = tmp_path / "pretrained", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for name, stage in (("celo", 2), ("tiny", 1)):
        celo.save(folder / f"{name}.safetensors", "celo", {"stage": stage}, THETA)
    monkeypatch.setattr(checkpoint, "PRETRAINED", folder)
    monkeypatch.chdir(elsewhere)
    return folder


def test_packaged_weights_have_names(pretrained: Path):
    assert checkpoint.packaged() == {name: pretrained / f"{name}.safetensors" for name in ("celo", "tiny")}
    assert celo.load("tiny")[0] == celo.learned_optimizer("celo", stage=1)
    assert_equal(run(celo.celo(50)), run(celo.celo(50, THETA)))


def test_a_name_means_packaged_weights_and_a_path_a_file(pretrained: Path):
    celo.save("tiny", "celo", {"form": "linear"}, THETA)
    celo.save("own", "celo", {"form": "linear"}, THETA)
    assert celo.load("tiny")[0] == celo.learned_optimizer("celo", stage=1)
    for own in ("./tiny", Path("tiny"), "own"):
        assert celo.load(own)[0] == celo.learned_optimizer("celo", form="linear")


def test_names_and_files_that_are_not_there(pretrained: Path):
    Path("theta.safetensors").touch()
    for folder in ("folder", "tiny"):
        Path(folder).mkdir()
    assert celo.load("tiny")[0] == celo.learned_optimizer("celo", stage=1)  # whatever has its name
    for source, message in (
        ("cello", r"'cello'\. Did you mean 'celo'\? Known: celo, tiny\."),
        ("folder", r"'folder'\. Known: celo, tiny\. Published: hf://amoudgl"),
        ("./folder", "folder is a folder; expected a file"),
        ("theta.safetensor", "Did you mean 'theta.safetensors'"),
        ("nowhere/theta.safetensors", "no file nowhere/theta.safetensors"),
        (Path("cello"), r"no file cello\.$"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            celo.load(source)


@pytest.mark.parametrize("source", [None, 3, b"celo", ["celo"]])
def test_what_is_no_name_and_no_path(source: Any):
    with pytest.raises(TypeError, match="expected a name, a path or an address of the hub"):
        celo.load(source)


def test_an_installation_without_weights_says_so(pretrained: Path):
    (pretrained / "celo.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights pretrained/celo.safetensors; give theta="):
        celo.celo(50)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])
def test_upstream_files_are_recognised(tmp_path: Path, name: str):
    theta = random_theta(name)
    (tmp_path / "theta.state").write_bytes(upstream_file(name, theta))
    for named, config in ({}, {}), ({"name": name}, {}), ({"form": "linear"}, {"form": "linear"}):
        if name == "celo" or not config:
            learned, found = celo.load(tmp_path / "theta.state", **named)
            assert learned == celo.learned_optimizer(name, **config)
            assert_equal(found, theta)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])
def test_released_files_load(name: str, shared_path: Callable[[str], Path]):
    """They have the structure that these tests write."""
    path = shared_path(f"parity/released/{name}.theta.state")
    learned, theta = celo.load(path)
    assert learned == celo.learned_optimizer(name)
    ours, theirs = map(flax.serialization.msgpack_restore, (upstream_file(name, theta), path.read_bytes()))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)


def whole(header: dict[str, Any], flat: Any = FLAT) -> bytes:
    """A file that is intact, whatever it holds."""
    return safetensors_file.encode({**HEADER, **header}, flat)


def upstream(change: dict[str, Any]) -> bytes:
    flat = {**interop.to_upstream("celo", THETA), **change}
    return flax.serialization.msgpack_serialize(trees.unflatten(flat))


BIAS = "rnn_params/step_size/b"
MISFITS: list[tuple[bytes, dict[str, Any], str]] = [
    (whole({}, replaced("mlp/b2", NOT_A_NUMBER)), {}, "2 of the 3 numbers in leaf mlp/b2 are not finite"),
    (whole({}, replaced("mlp/b2", np.zeros(2, np.float32))), {}, r"expected float32\[3\], found float32\[2"),
    (whole({}, replaced("mlp/b2", np.zeros(3, np.int32))), {}, r"expected float32\[3\], found int32\[3\]"),
    (whole({}, replaced("mlp/b2", None)), {}, r"does not fit Celo.*: missing leaf \['mlp'\]\['b2'\]"),
    (whole({}, replaced("mlp/b2/x", np.zeros(1, np.float32))), {}, "path mlp/b2"),
    (whole({}, replaced("opt", np.zeros(1, np.float32))), {}, r"unexpected leaf \['opt'\] of float32\[1\]"),
    (whole({"optimizer": "cello"}), {}, r"Unknown learned optimizer 'cello'\. Did you mean 'celo'"),
    (whole({"optimizer": "celo_adam", "config": {}}), {}, "does not fit CeloAdam"),
    (whole({"optimizer": None}), {}, "corrupt: its header has no optimizer"),
    (whole({"config": None}), {}, "corrupt: its header has no optimizer with a configuration"),
    (whole({"config": {"stage": 7}}), {}, "stage is 7; expected 1"),
    (whole({"config": {"stage": [1]}}), {}, "stage is"),
    (whole({"config": {"form": {"a": 1}}}), {}, "form is"),
    (whole({"config": {"phase": 1}}), {}, "celo has no option 'phase'"),
    (whole({"optimizer": "celo2", "config": {"adam_paths": "(a*)*$"}}), {}, "expected globs"),
    (whole({"optimizer": "velo", "config": {"hidden": 10**30}}), {}, "expected a whole number"),
    (whole({"optimizer": "velo", "config": {"hidden": 2**30}}), {}, "theta"),
    (upstream({BIAS: np.full(1, math.nan, np.float32)}), {}, f"in leaf {BIAS} are not finite"),
    (upstream({BIAS: np.zeros(2, np.float32)}), {}, f"most like celo: leaf {BIAS}: expected"),
    (upstream({"more": np.zeros(2, np.float32)}), {}, "most like celo: unexpected leaf more"),
    (UPSTREAM, {"name": "celo_adam"}, "not upstream's .* of celo_adam: unexpected leaf ff_mod"),
    (UPSTREAM, {"name": "cello"}, "Unknown learned optimizer 'cello'"),
    (flax.serialization.msgpack_serialize({"a": {}}), {}, "a is an empty"),
    (flax.serialization.msgpack_serialize({"step": 3}), {}, "fit none of celo"),
]


@pytest.mark.parametrize(("data", "named", "message"), MISFITS, ids=[message for _, _, message in MISFITS])
def test_whole_files_that_do_not_fit(tmp_path: Path, data: bytes, named: dict[str, Any], message: str):
    (tmp_path / "theta").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        celo.load(tmp_path / "theta", **named)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": "cello"}, ValueError, "Unknown learned optimizer 'cello'"),
        ({"config": {"phase": 1}}, TypeError, "celo has no option 'phase'"),
        ({"config": {"stage": 7}}, ValueError, "stage is 7"),
        ({"config": [("stage", 1)]}, TypeError, "config is .*; expected the fields"),
        ({"config": None}, TypeError, "config is None"),
        ({"theta": trees.unflatten(replaced("mlp/b2", None))}, ValueError, r"missing leaf \['mlp'\]\['b2'\]"),
        ({"theta": trees.unflatten(replaced("mlp/b2", NOT_A_NUMBER))}, ValueError, "mlp/b2 are not finite"),
        ({"provenance": {"task": object()}}, ValueError, "cannot be written as JSON: .*object"),
        ({"provenance": {"loss": math.nan}}, ValueError, "cannot be written as JSON: .*nan"),
        ({"path": "nowhere/theta"}, FileNotFoundError, "the folder nowhere for theta does not exist"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else None,
)
def test_what_save_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, kind: type[Exception], message: str
):
    monkeypatch.chdir(tmp_path)
    good: dict[str, Any] = {"path": "theta", "name": "celo", "config": {}, "theta": THETA}
    with pytest.raises(kind, match=message):
        celo.save(**{**good, **arguments})
    assert not os.listdir(tmp_path)
