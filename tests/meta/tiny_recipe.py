"""A recipe of two stages that meta-trains in seconds, for tests of whole runs."""

import dataclasses

from celo.meta.presets import preset
from celo.meta.recipe import Settings
from celo.meta.stage import Stage

TASK = "ImageMLP_Digits8_Relu16_bs64"
STAGE = Stage(iterations=4, problems=2, truncation=3, horizon_low=4, horizon_high=8)
RECIPE = dataclasses.replace(
    preset("quick"),
    stages=(STAGE, dataclasses.replace(STAGE, trains="scheduler")),
    tasks=(TASK,),
    validate_every=0,
    validation_steps=5,
    validation_seeds=1,
    iterations_per_call=2,
)
QUIET = Settings(progress=False, checkpoint_every=2)


class StoppedError(Exception):
    """Everything was checked, and a program would be compiled."""
