"""Weights on the Hugging Face hub, without a network: addresses, the cache of downloads, and errors."""

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

import celo
from celo import interop
from celo._core import hub
from tests.celo.checkpoint_contents import THETA, UPSTREAM, assert_equal, random_theta, upstream_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out, and no network; the folder of one commit of amoudgl/celo."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--amoudgl--celo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "theta.state").write_bytes(UPSTREAM)
    celo.save(snapshot / "mine.safetensors", "celo", {"stage": 1}, THETA)
    return snapshot


@pytest.mark.parametrize(
    "text", ["hf://", "hf://celo", "hf://a/b@", "hf://a/b@c@d", "hf://a/b/", "hf://a b/c", "hf:///a/b"]
)
def test_what_is_no_address(text: str):
    with pytest.raises(ValueError, match=r"is no address; expected hf://owner/repository\[@revision\]"):
        celo.load(text)


@pytest.mark.parametrize(
    "address",
    ["hf://amoudgl/celo", "amoudgl/celo", "hf://amoudgl/celo@main", f"hf://amoudgl/celo@{COMMIT}"],
)
def test_what_was_downloaded_before_loads_without_a_network(downloaded: Path, address: str):
    learned, theta = celo.load(address)
    assert learned == celo.learned_optimizer("celo")
    assert_equal(theta, THETA)


def test_what_a_file_of_velo_does_not_say_is_told(downloaded: Path):
    """Its published weights are multiplied by 100, which their repository shows but no copy of the file."""
    place = downloaded / "velo.state"
    place.write_bytes(interop.encode("velo", random_theta("velo")))
    with pytest.warns(UserWarning, match=r"read with 1; the published VeLO has 100: give ff_mult=100"):
        assert celo.load(place)[0] == celo.learned_optimizer("velo")
    assert celo.load(place, ff_mult=100.0)[0] == celo.learned_optimizer("velo", ff_mult=100.0)


def test_a_file_of_the_name_of_a_published_repository_goes_first(
    downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "amoudgl").mkdir()
    (tmp_path / "amoudgl" / "celo").touch()
    with pytest.raises(ValueError, match="amoudgl/celo is empty"):
        celo.load("amoudgl/celo")


def test_our_files_load_from_any_repository(downloaded: Path):
    learned, _ = celo.load(f"hf://amoudgl/celo@{COMMIT}/mine.safetensors")
    assert learned == celo.learned_optimizer("celo", stage=1)
    assert celo.load("hf://amoudgl/celo/mine.safetensors", stage=2)[0] == celo.learned_optimizer("celo")
    assert hub.parse("hf://some.one/my_weights") == ("some.one/my_weights", None, "theta.safetensors")


@pytest.mark.parametrize(
    "address", ["hf://amoudgl/celo-adam", "hf://amoudgl/celo@other", "hf://amoudgl/celo/x.state"]
)
def test_without_a_network_the_error_says_what_to_do(downloaded: Path, address: str):
    with pytest.raises(ConnectionError, match=r"cannot be reached, and hf://amoudgl/celo.*@.*/.* was"):
        celo.load(address)


def test_another_optimizer_than_the_repository_is_known_for(downloaded: Path):
    """A file is what its repository says it is, or it is refused."""
    (downloaded / "theta.state").write_bytes(upstream_file("celo_adam", random_theta("celo_adam")))
    with pytest.raises(ValueError, match=r"hf://amoudgl/celo: .* not upstream's .* of celo: missing"):
        celo.load("hf://amoudgl/celo")


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (errors.EntryNotFoundError("404"), FileNotFoundError, "no hf://amoudgl/celo@v2/theta.state on"),
        (errors.LocalEntryNotFoundError("gone"), ConnectionError, "hf://amoudgl/celo@v2/theta.state was not"),
    ],
)
def test_errors_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[Exception], message: str
):
    def refuse(*arguments: Any, **named: Any) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(kind, match=message):
        celo.load("hf://amoudgl/celo@v2")


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"huggingface_hub: pip install huggingface_hub$"):
        celo.load("hf://amoudgl/celo")


def test_the_authors_repositories_hold_optimizers_that_exist():
    for published in hub.REPOSITORIES.values():
        celo.learned_optimizer(published.name, **published.config)
        assert published.name in interop.LAYOUTS
