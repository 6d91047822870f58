"""How well are the times of sampled tasks predicted? `python -m scripts.studies.sampled_runtime --out FILE`.

Measures steps of configurations of one family on this machine, one after the other, and appends a row for
each to the file; the same command resumes it. Then fits the predictor to three quarters of the rows and
prints its error on the others: the mean squared error of the logarithm, beside the variance and the published
error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from celo._core.checks import check_fields, whole
from celo._core.names import lookup
from celo.meta.tasks import check_name, make
from celo.meta.tasks.sampled import FAMILIES
from celo.meta.tasks.sampled.names import PREFIX, configuration_of
from celo.meta.tasks.sampled.runtime import RuntimePredictor, measure_seconds
from celo.scripts import checks

# Of the published deep sets on held-out configurations, fitted to times on a TPU v4.
PUBLISHED = {
    "image_conv": 0.0415,
    "image_mlp": 0.0333,
    "image_mlp_ae": 0.0282,
    "image_mlp_vae": 0.0096,
    "image_resnet": 0.0353,
    "lm_rnn": 0.0106,
    "lm_transformer": 0.0296,
    "lopt": 0.0796,
    "vit": 0.1906,
}


@dataclasses.dataclass(frozen=True)
class SampledRuntime:
    """Measure and predict the time of sampled tasks."""

    out: str
    """File of measured times, one JSON object a line."""
    family: str = "image_mlp"
    """Family of sampled tasks."""
    count: Annotated[int, whole(8, 10**6)] = 64
    """Configurations to measure, those of the numbers 0, 1, ..."""
    dataset: str = ""
    """Dataset in place of those drawn."""

    def check(self) -> None:
        """Check the arguments before anything runs."""
        check_fields(self)
        lookup("family of sampled tasks", self.family, FAMILIES)
        check_name(self.name(0))

    def name(self, number: int) -> str:
        """The name of a task."""
        return f"{PREFIX}{self.family}/{number}" + (f"@{self.dataset}" if self.dataset else "")

    def run(self) -> None:
        """Measure what is missing, fit, and print the errors."""
        path = Path(self.out)
        lines = path.read_text().splitlines() if path.exists() else []
        times = {row["name"]: row["seconds"] for row in map(json.loads, lines)}
        names = [self.name(number) for number in range(self.count)]
        for name in names:
            if name in times:
                continue
            times[name] = measure_seconds(make(name), jax.random.key(0))
            with path.open("a") as file:
                file.write(json.dumps({"name": name, "seconds": times[name]}) + "\n")
            print(f"{name}  {times[name]:.3g} s", file=sys.stderr, flush=True)
            jax.clear_caches()
        print(report(self.family, names, [times[name] for name in names]))


def report(family: str, names: list[str], seconds: list[float]) -> str:
    """The errors in words: every fourth task is held out."""
    configurations, held_out = [configuration_of(name) for name in names], np.arange(len(names)) % 4 == 3

    def part(chosen: np.ndarray) -> tuple[list, list]:
        numbers = np.flatnonzero(chosen)
        return [configurations[i] for i in numbers], [seconds[i] for i in numbers]

    predictor = RuntimePredictor.fit(*part(~held_out))
    fitted, unseen = (predictor.log_error(*part(chosen)) for chosen in (~held_out, held_out))
    variance = float(np.var(np.log(part(held_out)[1])))
    sizes = (int(np.sum(~held_out)), int(np.sum(held_out)))
    return (
        f"{family}: squared error of ln(seconds) {fitted:.4f} on {sizes[0]} configurations fitted, "
        f"{unseen:.4f} on {sizes[1]} held out (variance {variance:.2f}; "
        f"published, on another machine and with more configurations: {PUBLISHED[family]})"
    )


main = checks.program(SampledRuntime, "sampled_runtime", __doc__)

if __name__ == "__main__":
    sys.exit(main())
