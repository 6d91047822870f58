"""List what can be named on a command line: `celo list tasks`, `optimizers`, `presets` or `suites`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Literal

import tyro

from celo.scripts import checks


@dataclasses.dataclass(frozen=True)
class List:
    """List names, one per line.

    Attributes:
        what: tasks, optimizers, presets (recipes of meta-training) or suites (lists of tasks).
        contains: list only names that contain this text, in any case.
    """

    what: tyro.conf.Positional[Literal["tasks", "optimizers", "presets", "suites"]]
    contains: str = ""

    def run(self) -> None:
        """Prints the names."""
        found = [pair for pair in lines(self.what) if self.contains.lower() in pair[0].lower()]
        width = max((len(name) for name, _ in found), default=0)
        for name, remark in found:
            print(f"{name:<{width}}  {remark}".rstrip())


def lines(what: str) -> Iterator[tuple[str, str]]:
    """Names with a remark each."""
    if what == "tasks":
        from celo.meta.tasks import TASKS

        yield from ((name, entry.dataset or "") for name, entry in TASKS.items())
    elif what == "optimizers":
        from celo import HAND_DESIGNED, LEARNED

        yield from ((name, "learned") for name in LEARNED)
        yield from ((name, "hand-designed") for name in HAND_DESIGNED)
    elif what == "presets":
        from celo.meta.presets import PRESETS

        for name, recipe in PRESETS.items():
            iterations = " + ".join(f"{stage.iterations:,}" for stage in recipe.stages)
            yield name, f"{iterations} meta-iterations on {', '.join(recipe.tasks)}"
    else:
        from celo.evaluation.suites import suites

        for name, tasks in suites().items():
            shown = ", ".join(tasks[:5]) + (", ..." if len(tasks) > 5 else "")
            yield name, f"{len(tasks)} tasks: {shown}"


main = checks.program(List, "celo list", __doc__)

if __name__ == "__main__":
    sys.exit(main())
