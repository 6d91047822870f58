"""Convert meta-parameters: `celo convert hf://amoudgl/celo celo.safetensors`.

Reads whatever `celo.load` reads: a file theta.state of the reference implementation, a file of ours, packaged
weights by name, an address on the Hugging Face hub. Checks it, and writes safetensors with the optimizer, its
configuration and where the numbers come from; or, with `--to upstream`, theta.state. Equal input gives
equal bytes.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from celo import checkpoint, interop
from celo._core import names
from celo._core.files import write_atomically
from celo.learned import LEARNED
from celo.scripts.errors import exit_with


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert meta-parameters between this format and that of the reference implementation.

    Attributes:
        source: a file, the name of packaged weights, or hf://owner/repository[@revision][/file].
        out: the file to write.
        to: what to write: "safetensors" (ours) or "upstream" (theta.state, flax's msgpack, which says neither
            the name of the optimizer nor its configuration).
        name: which optimizer the source holds, for one that does not tell; "" = what it says.
        options: configuration as NAME=VALUE where it differs from what the source says, or from the defaults.
        date: a date to write into the file; "" = none, as equal input is to give equal bytes.
        force: overwrite a file that exists.
    """

    source: tyro.conf.Positional[str]
    out: tyro.conf.Positional[Path]
    to: Literal["safetensors", "upstream"] = "safetensors"
    name: str = ""
    options: tuple[str, ...] = ()
    date: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        """Checks names and the place of the output before anything is read or downloaded."""
        if self.name and self.name not in LEARNED:
            raise names.unknown_name("optimizer", self.name, LEARNED)
        dict(map(names.parse_option, self.options))
        if self.to == "upstream" and self.date:
            raise ValueError("theta.state has no place for a date; leave --date out with --to upstream")
        if self.out.is_dir():
            raise IsADirectoryError(f"{self.out} is a folder; expected the file to write")
        if not self.out.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self.out.absolute().parent} for {self.out.name}")
        if self.out.exists() and not self.force:
            raise FileExistsError(f"{self.out} exists; give --force to overwrite it")

    def run(self) -> str:
        """Converts.

        Returns:
            What was done, for people.
        """
        options = dict(map(names.parse_option, self.options))
        found = checkpoint.read(self.source, self.name or None, **options)
        if self.to == "upstream":
            write_atomically(self.out, interop.encode(found.name, found.theta, **found.config))
        else:
            checkpoint.save(self.out, found.name, found.config, found.theta, self.provenance(found))
        return f"{self.out}: {found.learned}, from {self.source} (SHA-256 {found.sha256})"

    def provenance(self, found: checkpoint.Loaded) -> dict[str, Any]:
        """Where the numbers come from; nothing in it depends on when or where they were converted."""
        origin: dict[str, Any] = {
            "command": "celo convert",
            "source": self.source,
            "source_sha256": found.sha256,
        }
        if found.revision:
            origin["source_revision"] = found.revision
        if found.header is not None:
            origin["source_provenance"] = found.header.get("provenance", {})
        if self.date:
            origin["date"] = self.date
        return origin


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the file is written."""
    with exit_with():
        print(tyro.cli(Convert, args=argv, description=__doc__, prog="celo convert").run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
