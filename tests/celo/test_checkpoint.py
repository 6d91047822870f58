"""Meta-parameters in files: what is saved comes back, from wherever it is, with its configuration."""

import json
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
import safetensors.numpy

import celo
from celo import checkpoint, interop
from celo.learned import base

ROWS = [(name, {}) for name in celo.LEARNED] + [("celo", {"stage": 1}), ("celo", {"form": "linear"})]


def random_theta(name: str, **config: Any) -> Any:
    """Random meta-parameters, drawn without compiling anything."""
    rng = np.random.default_rng(0)
    shapes = base.theta_shapes(celo.learned_optimizer(name, **config))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32)), shapes)


THETA = random_theta("celo")


def assert_equal(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def upstream_file(name: str, theta: Any) -> bytes:
    """A file as the reference writes it: one module per dictionary, its name with slashes."""
    nested: dict[str, Any] = {}
    for path, leaf in interop.to_upstream(name, theta).items():
        top, _, rest = path.partition("/")
        *module, leaf_name = rest.split("/")
        node = nested.setdefault(top, {})
        node = node.setdefault("/".join(module), {}) if module else node
        node[leaf_name] = leaf
    return flax.serialization.msgpack_serialize(nested)


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


@pytest.mark.parametrize("config", [None, "stage=1", [("stage", 1)], 1])
def test_a_configuration_must_be_a_mapping(tmp_path: Path, config: Any):
    with pytest.raises(TypeError, match=r"^config is .*; expected the fields of the configuration, \{\} for"):
        celo.save(tmp_path / "theta", "celo", config, THETA)
    assert not os.listdir(tmp_path)


# From wherever they are


def run(optimizer: Any) -> Any:
    params = {"w": jnp.arange(4.0)}
    return optimizer.update(params, optimizer.init(params), params, value=jnp.float32(1.0))


def test_one_line_takes_a_tree_or_a_file(tmp_path: Path):
    path = tmp_path / "theta.safetensors"
    celo.save(path, "celo", {}, THETA)
    expected = run(celo.learned_optimizer("celo").optimizer(THETA, 50))
    for theta in (THETA, path, str(path)):
        assert_equal(run(celo.celo(50, theta)), expected)
    assert_equal(run(celo.load(path).optimizer(50)), expected)


def test_one_line_keeps_the_configuration_of_the_file(tmp_path: Path):
    celo.save(tmp_path / "theta", "celo", {"stage": 1}, THETA)
    (_, state) = run(celo.celo(50, tmp_path / "theta"))
    assert state.scheduler is None


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


def test_a_folder_of_that_name_is_not_in_the_way(pretrained: Path):
    Path("tiny").mkdir()
    assert celo.load("tiny")[0] == celo.learned_optimizer("celo", stage=1)


def test_names_and_files_that_are_not_there(pretrained: Path):
    Path("theta.safetensors").touch()
    Path("folder").mkdir()
    for source, message in (
        ("cello", r"no packaged weights and no file 'cello'\. Did you mean 'celo'\? Known: celo, tiny\."),
        ("folder", r"no packaged weights and no file 'folder'\. Known: celo, tiny\. Published: hf://amoudgl"),
        ("./folder", r"folder is a folder; expected a file"),
        ("theta.safetensor", r"no file theta.safetensor\. Did you mean 'theta.safetensors'\?$"),
        ("nowhere/theta.safetensors", r"no file nowhere/theta.safetensors\.$"),
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
    for told in (None, name):
        learned, found = celo.load(tmp_path / "theta.state", name=told)
        assert learned == celo.learned_optimizer(name)
        assert_equal(found, theta)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])
def test_released_files_load(name: str, shared_path: Callable[[str], Path], tmp_path: Path):
    path = shared_path(f"parity/released/{name}.theta.state")
    learned, theta = celo.load(path)
    assert learned == celo.learned_optimizer(name)
    celo.save(tmp_path / "theta.safetensors", name, {}, theta)
    assert_equal(celo.load(tmp_path / "theta.safetensors")[1], theta)


def test_a_released_file_is_written_as_these_tests_write_it(shared_path: Callable[[str], Path]):
    data = shared_path("parity/released/celo.theta.state").read_bytes()
    theirs = flax.serialization.msgpack_restore(data)
    _, theta = celo.load(shared_path("parity/released/celo.theta.state"))
    ours = flax.serialization.msgpack_restore(upstream_file("celo", theta))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)


def test_the_stage_of_an_upstream_file_is_told(tmp_path: Path):
    (tmp_path / "theta.state").write_bytes(upstream_file("celo", THETA))
    assert celo.load(tmp_path / "theta.state", stage=1)[0] == celo.learned_optimizer("celo", stage=1)
