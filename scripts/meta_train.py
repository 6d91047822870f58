"""Meta-train a learned optimizer.

`celo meta-train --preset quick --run-dir runs/mine` starts a run; the same command resumes it. Presets: quick
(embedded digits, minutes), cpu (real datasets, about an hour on two cores), wide (eight families of those,
hours), paper (the Celo paper's). Every field of the preset can be overridden: `--stage1.iterations 2000
--tasks NAME NAME`. `--stages N` runs N stages, `--stage1.FIELD` to `--stageN.FIELD`; those beyond the
preset's repeat its last one.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from celo.learned import LEARNED
from celo.meta.cluster import ClusterSettings
from celo.meta.data.source import DATA_VARIABLE
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.stage import Stage
from celo.meta.trainer import BEST_FILE, THETA_FILE, Result, Settings, meta_train
from celo.scripts import checks
from celo.scripts.devices import Devices, set_up

PROGRAM = "celo meta-train"
Command = TypeVar("Command", bound="OfRecipe")
_MOST_STAGES = 99
_STAGES = "the stages, in order; each starts from the theta that the one before ends with."
_NO_CLUSTER = ClusterSettings()
_STAGES_OPTION = "number of stages to run, from the first."


@dataclasses.dataclass(frozen=True)
class OfRecipe:
    """The options of every command on a recipe that are not fields of the recipe.

    Attributes:
        settings: how to carry the recipe out.
        devices: where.
        preset: the recipe to start from.
    """

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    devices: Annotated[Devices, tyro.conf.arg(name="")]
    preset: Literal["quick", "cpu", "wide", "paper"] = "quick"


@dataclasses.dataclass(frozen=True)
class MetaTrain(OfRecipe):
    """The options that are not fields of a recipe.

    Attributes:
        run_dir: the run folder; default runs/PRESET.
        cluster: the workers, if any.
    """

    run_dir: str | None = None
    cluster: Annotated[ClusterSettings, tyro.conf.arg(name="")] = _NO_CLUSTER

    def check(self) -> None:
        """Checks that the run has either workers or processes."""
        if self.cluster.cluster != "none" and self.devices.num_processes > 1:
            raise ValueError(
                f"cluster is {self.cluster.cluster!r} and num_processes {self.devices.num_processes}; a "
                "learner is one process"
            )


def parse(
    argv: list[str] | None = None,
    kind: type[Command] = MetaTrain,
    program: str = PROGRAM,
    description: str | None = __doc__,
    without: tuple[str, ...] = (),
) -> tuple[Recipe, Command]:
    """The recipe and the other options of a command line.

    Preset, optimizer and number of stages are read first, as they give the defaults.

    Args:
        argv: arguments; None = those of the process.
        kind: dataclass of the options that are not fields of a recipe.
        program: name for the help.
        description: text for the help.
        without: fields of a recipe that are no options.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(program, f"{program} [OPTIONS]", add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="quick")
    first.add_argument("--optimizer", default="celo")
    first.add_argument("--stages", type=int)
    chosen = first.parse_known_args(argv)[0]
    recipe = preset(chosen.preset, chosen.optimizer)
    count = len(recipe.stages) if chosen.stages is None else chosen.stages
    if not 1 <= count <= _MOST_STAGES:
        raise ValueError(f"stages is {count}; expected a whole number from 1 to {_MOST_STAGES}")
    recipe = dataclasses.replace(recipe, stages=_stages(recipe, count))
    options = _options(recipe, kind, chosen.preset, without)
    given = vars(checks.parse(options, argv, program, description))
    plain = {name: given[name] for name in _hints(Recipe) if name in given and name != "stages"}
    others = {name: given[name] for name in _hints(kind)}
    stages = tuple(given[f"stage{i}"] for i in range(1, count + 1))
    return dataclasses.replace(recipe, stages=stages, **plain), kind(**others)


def _stages(recipe: Recipe, count: int) -> tuple[Stage, ...]:
    """So many stages; those beyond the recipe's repeat its last one."""
    return (*recipe.stages, *[recipe.stages[-1]] * count)[:count]


def _options(recipe: Recipe, kind: type, preset_name: str, without: tuple[str, ...]) -> type[Any]:
    """A dataclass for tyro: the fields of a recipe with its stages one by one, and those of ``kind``."""
    numbered = {f"stage{i}": stage for i, stage in enumerate(recipe.stages, 1)}
    hints = _hints(Recipe) | {"optimizer": Literal[tuple(LEARNED)], "stages": int}
    hints |= dict.fromkeys(numbered, Stage) | _hints(kind)
    values = vars(recipe) | numbered | {"stages": len(numbered)}
    values |= {field.name: field.default for field in dataclasses.fields(kind)}
    values |= {"preset": preset_name, "settings": Settings(), "devices": Devices()}
    about = f"{Recipe.__doc__}".partition("    Raises:")[0].replace(_STAGES, _STAGES_OPTION)
    about += "".join(f"        {name}: stage {name[5:]}.\n" for name in numbered)
    about += "".join(f"{one.__doc__}".partition("Attributes:\n")[2].rstrip(" ") for one in (OfRecipe, kind))
    fields = [
        (name, hint, dataclasses.field(default=values[name]))
        for name, hint in hints.items()
        if name not in without
    ]
    return dataclasses.make_dataclass("Options", fields, namespace={"__doc__": about}, frozen=True)


def command_for(recipe: Recipe, command: MetaTrain) -> str:
    """A line for a shell in any folder, which carries a recipe out; `parse` reads its options back."""
    data_dir = command.settings.data_dir or os.environ.get(DATA_VARIABLE)
    settings = dataclasses.replace(
        command.settings, data_dir=data_dir and str(Path(data_dir).expanduser().absolute())
    )
    words = arguments(recipe, dataclasses.replace(command, settings=settings))
    return checks.shell_command("meta_train", words)


def arguments(recipe: Recipe, command: MetaTrain) -> list[str]:
    """The options of a recipe and of how it is carried out that are not the defaults of its preset."""
    plain = preset(command.preset, recipe.optimizer)
    count = len(recipe.stages)
    words = ["--preset", command.preset, "--optimizer", recipe.optimizer, "--stages", str(count)]
    words += ["--run-dir", str(command.run_dir)] if command.run_dir else []
    words += checks.options(recipe, plain, "", ("optimizer", "stages"))
    for number, (stage, default) in enumerate(zip(recipe.stages, _stages(plain, count), strict=True), 1):
        words += checks.options(stage, default, f"stage{number}.")
    for found in (command.settings, command.devices, command.cluster):
        words += checks.options(found)
    return words


def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def conclusion(result: Result, seconds: float) -> str:
    """What to say at the end: the files, the time, the validation, and a command to continue with."""
    if not result.finished:
        return f"stopped by a signal; a checkpoint is in {result.path}, the same command resumes from it"
    theta = os.path.relpath(result.path / THETA_FILE)
    lines = [f"theta: {result.path / THETA_FILE}"]
    if result.best is not None:
        step, score = result.best
        lines.append(f"best:  {result.path / BEST_FILE} (validation {score:.4f} after {step} iterations)")
    lines.append(f"time:  {round(seconds)} s")
    lines.append(f"next:  celo evaluate --suite quick --optimizers adam {shlex.quote(theta)} --out results")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the run is finished, or a signal stopped it and a checkpoint is written."""
    start = time.perf_counter()
    with checks.exit_with():
        recipe, command = parse(argv)
        set_up(command.devices)
        run_dir = Path(command.run_dir or f"runs/{command.preset}")
        command.check()
        with command.cluster.connected(recipe) as cluster:
            result = meta_train(recipe, run_dir, command.settings, cluster)
    print(conclusion(result, time.perf_counter() - start))
    return 0


if __name__ == "__main__":
    sys.exit(main())
