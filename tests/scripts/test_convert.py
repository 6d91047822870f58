"""Converting meta-parameters: nothing is lost either way, equal input gives equal bytes, errors say why."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import serialization
from huggingface_hub import constants

import celo
from celo import checkpoint, interop
from celo._core import trees
from celo.scripts import cli, convert

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


def test_equal_input_gives_equal_bytes(state, tmp_path):
    files = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for file in files:
        convert.main([str(state), str(file)])
    assert files[0].read_bytes() == files[1].read_bytes()
    convert.main([str(state), str(files[1]), "--date", "2030-01-02", "--force"])
    assert checkpoint.read_header(files[1])["provenance"]["date"] == "2030-01-02"
    assert "date" not in checkpoint.read_header(files[0])["provenance"]


def test_the_file_names_its_origin(state, tmp_path, capsys):
    import hashlib

    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert convert.main([str(state), str(first)]) == 0
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    assert digest in capsys.readouterr().out
    said = checkpoint.read_header(first)["provenance"]
    assert (said["source"], said["source_sha256"]) == (str(state), digest)
    assert (said["command"], said["celo_version"]) == ("celo convert", celo.__version__)
    assert convert.main([str(first), str(second)]) == 0
    assert checkpoint.read_header(second)["provenance"]["source_provenance"] == said


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


def test_options_are_kept(parity, tmp_path):
    state = write_state(tmp_path / "theta.state", upstream_theta(parity("random/velo_s")))
    out = tmp_path / "out.safetensors"
    assert cli.main(["convert", str(state), str(out), "--options", "ff_mult=100.0"]) == 0
    assert celo.load(out)[0] == celo.learned_optimizer("velo_s", ff_mult=100.0)


def failed(argv, capsys):
    """The message of a command that ends with exit code 2."""
    with pytest.raises(SystemExit) as raised:
        convert.main([str(argument) for argument in argv])
    assert raised.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return " ".join(captured.err.replace("│", " ").split())


def test_no_file_is_overwritten_without_force(state, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    out.write_text("precious")
    assert failed([state, out], capsys) == f"error: {out} exists; give --force to overwrite it"
    assert out.read_text() == "precious"
    assert convert.main([str(state), str(out), "--force"]) == 0
    celo.load(out)


def test_wrong_shapes_are_named(parity, tmp_path, capsys):
    flat = upstream_theta(parity("random/adafac_mlp"))
    flat["nn/~/w1"] = np.zeros((4, 5), np.float32)
    state, out = write_state(tmp_path / "theta.state", flat), tmp_path / "out.safetensors"
    message = failed([state, out, "--name", "adafac_mlp"], capsys)
    assert "leaf nn/~/w1: expected float32[4, 4], found float32[4, 5]" in message
    assert not out.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_files_are_refused(state, tmp_path, capsys, keep):
    cut, out = tmp_path / "cut.state", tmp_path / "out.safetensors"
    cut.write_bytes(state.read_bytes()[:keep])
    message = failed([cut, out], capsys)
    assert str(cut) in message
    assert ("is empty" if keep == 0 else "is truncated or corrupt") in message
    assert not out.exists()


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
def test_bad_options(state, tmp_path, capsys, options, message):
    out = tmp_path / "out.safetensors"
    assert message in failed([state, out, *options], capsys)
    assert not out.exists()


def test_an_ambiguous_file_needs_a_name(parity, tmp_path, capsys):
    state = write_state(tmp_path / "theta.state", upstream_theta(parity("random/celo2")))
    message = failed([state, tmp_path / "out.safetensors"], capsys)
    assert "fit celo2 and celo2_base alike" in message


def test_bad_places(state, tmp_path, capsys):
    assert "there is no folder" in failed([state, tmp_path / "none" / "out.safetensors"], capsys)
    assert "is a folder; expected the file to write" in failed([state, tmp_path], capsys)
    missing = Path(tmp_path / "theta.stat")
    assert failed([missing, tmp_path / "out"], capsys) == (
        f"error: no file {missing}. Did you mean 'theta.state'?"
    )


def test_a_pickle_is_never_loaded(tmp_path, capsys):
    import pickle

    path = tmp_path / "theta.pickle"
    path.write_bytes(pickle.dumps(json.loads('{"a": 1}')))
    assert "pickles are never loaded" in failed([path, tmp_path / "out"], capsys)
