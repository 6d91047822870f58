"""Weights published on the Hugging Face hub, named ``hf://owner/repository[@revision][/file]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[^@?#]+))?")


class Published(NamedTuple):
    """The content of a repository that does not state it itself."""

    file: str
    name: str
    config: Mapping[str, Any] = MappingProxyType({})


REPOSITORIES: Mapping[str, Published] = MappingProxyType(
    {
        "amoudgl/celo": Published("theta.state", "celo"),
        "amoudgl/celo-adam": Published("theta.state", "celo_adam"),
        "amoudgl/rnn-mlp-lopt": Published("theta.state", "rnn_mlp"),
        "amoudgl/adafac-mlp-lopt": Published("theta.state", "adafac_mlp"),
        "amoudgl/velo-s": Published("theta.state", "velo_s"),
        "amoudgl/velo-4000": Published("theta.state", "velo", MappingProxyType({"ff_mult": 100.0})),
        # These two files are alike: only the repository distinguishes their optimizers.
        "amoudgl/celo2": Published("theta.state", "celo2"),
        "amoudgl/celo2-base": Published("theta.state", "celo2_base"),
    }
)
"""The repositories of the paper's authors; read-only."""

DEFAULT_FILE = "theta.safetensors"
"""The file expected in a repository that is not in `REPOSITORIES`."""


class Address(NamedTuple):
    """A file on the hub; a revision is a commit, tag or branch."""

    repository: str
    revision: str | None
    file: str


def parse(text: str) -> Address:
    """The parts of an address.

    >>> parse("hf://amoudgl/celo@0123abc")
    Address(repository='amoudgl/celo', revision='0123abc', file='theta.state')

    Raises:
        ValueError: if the text is no address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address; expected hf://owner/repository[@revision][/file]")
    repository, file = match["repository"], match["file"]
    if file is None:
        file = REPOSITORIES[repository].file if repository in REPOSITORIES else DEFAULT_FILE
    return Address(repository, match["revision"], file)


def commit_of(path: Path) -> str | None:
    """The commit a downloaded file belongs to: the hub's cache keeps it under ``snapshots/COMMIT``.

    >>> commit_of(Path("models--amoudgl--celo/snapshots/0123abc/theta.state"))
    '0123abc'

    Args:
        path: a file as `fetch` returns it.

    Returns:
        The commit; None if the path has none.
    """
    parts = path.parts[:-1]
    place = parts.index("snapshots") + 1 if "snapshots" in parts else len(parts)
    return parts[place] if place < len(parts) else None


def fetch(address: Address) -> Path:
    """Downloads a file, or finds it among those downloaded before.

    Args:
        address: where it is. Without a revision it is the newest version; name a commit to get the same
            numbers always.

    Returns:
        Its place on this machine.

    Raises:
        ModuleNotFoundError: if `huggingface_hub` is not installed.
        FileNotFoundError: if there is no such repository, revision or file.
        ConnectionError: if the hub cannot be reached and the file was not downloaded before.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "hf:// addresses need the package huggingface_hub: pip install huggingface_hub", name=error.name
        ) from error
    text = f"{PREFIX}{address.repository}@{address.revision or 'main'}/{address.file}"
    try:
        return Path(
            huggingface_hub.hf_hub_download(address.repository, address.file, revision=address.revision)
        )
    except errors.LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"the hub cannot be reached, and {text} was not downloaded before; connect once, or download the "
            "file elsewhere and give its path"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise FileNotFoundError(f"no {text} on the hub: {error}") from error
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"the hub did not deliver {text}: {error}") from error
