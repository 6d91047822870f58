"""Converting meta-parameters: nothing is lost either way, equal input gives equal bytes, errors say why."""

import hashlib

import jax
import numpy as np
import pytest
from flax import serialization
from huggingface_hub import constants

import celo
from celo import checkpoint, interop
from celo._core import trees
from celo.scripts import convert

# Names of the vectors, and of the optimizer whose random meta-parameters they hold.
VECTORS = {
    "celo_rand": "celo",
    "velo_s": "velo_s",
    "adafac_mlp": "adafac_mlp",
    "mlp_lopt": "mlp_lopt",
    "nnadam": "nn_adam",
    "rnn_mlp": "rnn_mlp",
    "celo2": "celo2",
    "celo2base": "celo2_base",
}
ALIKE = ("celo2", "celo2_base")  # their files do not tell which they are
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def upstream_theta(arrays):
    """Meta-parameters of a file of vectors, by upstream path."""
    return {name.removeprefix("theta/"): x for name, x in arrays.items() if name.startswith("theta/")}


def write_state(path, flat):
    path.write_bytes(serialization.msgpack_serialize(trees.unflatten(flat)))
    return path


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def leaves(path):
    """Leaves of a theta.state, by path."""
    return trees.flatten(serialization.msgpack_restore(path.read_bytes()))


@pytest.mark.parametrize(("vectors", "name"), VECTORS.items(), ids=list(VECTORS))
def test_random_parameters_go_both_ways(parity, tmp_path, vectors, name):
    flat = upstream_theta(parity(f"random/{vectors}"))
    state = write_state(tmp_path / "theta.state", flat)
    ours, back, again = (tmp_path / file for file in ("ours.safetensors", "back.state", "again.safetensors"))
    named = ["--name", name] if name in ALIKE else []
    assert convert.main([str(state), str(ours), *named]) == 0
    learned, theta = celo.load(ours)
    assert learned == celo.learned_optimizer(name)
    assert_equal(theta, interop.from_upstream(name, flat))

    assert convert.main([str(ours), str(back), "--to", "upstream"]) == 0
    written = leaves(back)
    assert written.keys() == flat.keys()
    unused = {leaf for leaf in flat if not np.array_equal(written[leaf], flat[leaf])}
    assert all(not np.any(written[leaf]) for leaf in unused)
    assert not unused or name in ("celo", "velo_s")
    assert convert.main([str(back), str(again), *named]) == 0
    assert_equal(celo.load(again)[1], theta)


@pytest.mark.parametrize(("file", "name"), [("celo", "celo"), ("celo_adam", "celo_adam")])
def test_released_files_go_both_ways(shared_path, tmp_path, file, name):
    """Down to the nesting of the dictionaries, which upstream's reader compares with its own."""
    released = shared_path(f"parity/released/{file}.theta.state")
    ours, back = tmp_path / "ours.safetensors", tmp_path / "theta.state"
    assert convert.main([str(released), str(ours)]) == 0
    assert checkpoint.read(ours).name == name
    assert convert.main([str(ours), str(back), "--to", "upstream"]) == 0
    expected, written = (serialization.msgpack_restore(path.read_bytes()) for path in (released, back))
    assert jax.tree.structure(written) == jax.tree.structure(expected)
    assert jax.tree.map(np.shape, written) == jax.tree.map(np.shape, expected)
    assert_equal(celo.load(back)[1], celo.load(released)[1])


@pytest.fixture
def state(parity, tmp_path):
    """A theta.state of Adam's features over a small MLP."""
    return write_state(tmp_path / "theta.state", upstream_theta(parity("random/adafac_mlp")))


def test_the_file_names_its_origin(state, tmp_path, capsys):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert convert.main([str(state), str(first)]) == 0
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    assert digest in capsys.readouterr().out
    said = checkpoint.read_header(first)["provenance"]
    assert (said["source"], said["source_sha256"]) == (str(state), digest)
    assert (said["command"], said["celo_version"]) == ("celo convert", celo.__version__)
    assert convert.main([str(first), str(second)]) == 0
    assert checkpoint.read_header(second)["provenance"]["source_provenance"] == said
    assert "date" not in said
    assert convert.main([str(state), str(second), "--force"]) == 0
    assert second.read_bytes() == first.read_bytes()  # nothing of time or place
    assert convert.main([str(state), str(second), "--date", "2030-01-02", "--force"]) == 0
    assert checkpoint.read_header(second)["provenance"]["date"] == "2030-01-02"


def test_a_file_of_the_hub_keeps_its_commit(parity, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--amoudgl--celo2-base"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot.mkdir(parents=True)
    write_state(snapshot / "theta.state", upstream_theta(parity("random/celo2base")))
    out = tmp_path / "out.safetensors"
    assert convert.main(["hf://amoudgl/celo2-base", str(out)]) == 0
    header = checkpoint.read_header(out)
    assert header["optimizer"] == "celo2_base"  # the repository names what the file does not
    assert header["provenance"]["source"] == "hf://amoudgl/celo2-base"
    assert header["provenance"]["source_revision"] == COMMIT


def test_no_file_is_overwritten_without_force(state, tmp_path, refused):
    out = tmp_path / "out.safetensors"
    out.write_text("precious")
    message = f"error: {out} exists; give --force to overwrite it"
    assert refused(convert.main, [state, out]) == message
    assert out.read_text() == "precious"
    assert convert.main([str(state), str(out), "--force"]) == 0
    celo.load(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "adafac"], "Unknown optimizer 'adafac'. Did you mean 'adafac_mlp'"),
        (["--name", "celo"], "are not upstream's meta-parameters of celo: missing leaf"),
        (["--options", "ff_mult"], "option 'ff_mult' of the optimizer is not of the form NAME=VALUE"),
        (["--options", "ff_mult=1.0"], "adafac_mlp has no option 'ff_mult'"),
        (["--to", "upstream", "--date", "2030-01-02"], "theta.state has no place for a date"),
        (["--to", "torch"], "invalid choice 'torch'"),
    ],
)
def test_bad_options(state, tmp_path, refused, options, message):
    out = tmp_path / "out.safetensors"
    assert message in refused(convert.main, [state, out, *options])
    assert not out.exists()


def test_bad_files_and_places(parity, state, tmp_path, refused):
    out, bad = tmp_path / "out.safetensors", tmp_path / "bad.state"
    write_state(bad, upstream_theta(parity("random/celo2")))
    assert "fit celo2 and celo2_base alike" in refused(convert.main, [bad, out])
    bad.write_bytes(state.read_bytes()[:100])
    assert f"{bad} is truncated or corrupt" in refused(convert.main, [bad, out])
    assert not out.exists()
    assert "there is no folder" in refused(convert.main, [state, tmp_path / "none" / "out.safetensors"])
    assert "is a folder; expected the file to write" in refused(convert.main, [state, tmp_path])
    message = f"error: no file {tmp_path / 'theta.stat'}. Did you mean 'theta.state'"
    assert refused(convert.main, [tmp_path / "theta.stat", out]).startswith(message)
