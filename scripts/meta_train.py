"""Meta-train a learned optimizer.

`celo meta-train --preset quick --run-dir runs/mine` starts a run, or goes on with it where it stopped.
Presets: quick (embedded digits, minutes), cpu (real datasets, about an hour on two cores), paper (the Celo
paper's). Every field of the preset can be overridden: `--stage1.iterations 2000 --tasks NAME NAME`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from celo.meta.recipe import Recipe
from celo.meta.trainer import Settings, meta_train
from celo.meta.tuned import tuned_preset
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with

PROGRAM = "celo meta-train"


@dataclasses.dataclass(frozen=True)
class MetaTrain:
    """Meta-train a learned optimizer in a run folder; given a run that exists, go on with it.

    Attributes:
        recipe: what to do; the preset gives the defaults.
        settings: how to do it.
        devices: where.
        preset: the recipe to start from: quick, cpu or paper.
        run_dir: the run folder; default runs/PRESET.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    devices: Annotated[Devices, tyro.conf.arg(name="")]
    preset: str = "quick"
    run_dir: Path | None = None


def parse(argv: list[str] | None = None) -> MetaTrain:
    """The command of a command line; preset and optimizer are read first, as they give the defaults."""
    argv = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(PROGRAM, f"{PROGRAM} [OPTIONS]", add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="quick")
    first.add_argument("--optimizer", default="celo")
    chosen = first.parse_known_args(argv)[0]
    recipe = tuned_preset(chosen.preset, chosen.optimizer)
    default = MetaTrain(recipe, Settings(), Devices(), preset=chosen.preset)
    return tyro.cli(MetaTrain, default=default, args=argv, description=__doc__, prog=PROGRAM)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the run is finished, or a signal stopped it and a checkpoint is written."""
    with exit_with():
        command = parse(argv)
        set_up(command.devices)
        run_dir = command.run_dir or Path("runs") / command.preset
        result = meta_train(command.recipe, run_dir, command.settings)
    if result.finished:
        print(f"theta: {result.path / 'theta.safetensors'}")
    else:
        print(f"stopped by a signal; a checkpoint is in {result.path}, the same command goes on from it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
