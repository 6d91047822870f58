"""Convert meta-parameters: `celo convert hf://amoudgl/celo celo.safetensors`.

Reads whatever `celo.load` reads: a file theta.state of the reference implementation, a safetensors file of
this package, the name of packaged weights, or an address on the Hugging Face hub. Checks it, and writes
safetensors with the optimizer, its configuration and the origin of the numbers; or, with `--to upstream`,
theta.state. Equal input gives equal bytes.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from celo.scripts import checks

if TYPE_CHECKING:
    from celo.checkpoint import Loaded


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert meta-parameters between this format and that of the reference implementation.

    Attributes:
        source: a file, the name of packaged weights, or hf://owner/repository[@revision][/file].
        out: the file to write.
        to: format to write: "safetensors" (of this package) or "upstream" (theta.state, flax's msgpack, which
            holds neither the name of the optimizer nor its configuration).
        name: name of the optimizer, for a source without one; "" = the source's.
        options: configuration as NAME=VALUE where it differs from the source's, or from the defaults.
        date: a date to write into the file; "" = none, so that equal input gives equal bytes.
        force: overwrite an existing file.
    """

    source: tyro.conf.Positional[str]
    out: tyro.conf.Positional[Path]
    to: Literal["safetensors", "upstream"] = "safetensors"
    name: str = ""
    options: tuple[str, ...] = ()
    date: str = ""
    force: bool = False

    def check(self) -> None:
        """Checks names and the place of the output before anything is read or downloaded."""
        from celo._core import names
        from celo.learned import LEARNED

        if self.name and self.name not in LEARNED:
            raise names.unknown_name("optimizer", self.name, LEARNED)
        dict(map(names.parse_option, self.options))
        if self.to == "upstream" and self.date:
            raise ValueError("theta.state has no place for a date; leave --date out with --to upstream")
        checks.output_file(self.out)
        if self.out.exists() and not self.force:
            raise FileExistsError(f"{self.out} exists; give --force to overwrite it")

    def run(self) -> None:
        """Converts, and prints a line about it."""
        from celo import checkpoint, interop
        from celo._core import names
        from celo._core.files import write_atomically

        options = dict(map(names.parse_option, self.options))
        found = checkpoint.read(self.source, self.name or None, **options)
        if self.to == "upstream":
            write_atomically(self.out, interop.encode(found.name, found.theta, **found.config))
        else:
            checkpoint.save(self.out, found.name, found.config, found.theta, self.provenance(found))
        print(f"{self.out}: {found.learned}, from {self.source} (SHA-256 {found.sha256})")

    def provenance(self, found: Loaded) -> dict[str, Any]:
        """The origin of the numbers; it does not depend on the time or place of the conversion."""
        origin: dict[str, Any] = {"command": "celo convert"}
        origin |= {"source": self.source, "source_sha256": found.sha256}
        if found.revision:
            origin["source_revision"] = found.revision
        if found.header is not None:
            origin["source_provenance"] = found.header.get("provenance", {})
        if self.date:
            origin["date"] = self.date
        return origin


main = checks.program(Convert, "celo convert", __doc__)

if __name__ == "__main__":
    sys.exit(main())
