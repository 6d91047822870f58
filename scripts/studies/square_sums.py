"""How fast can a CPU sum the squares of Celo's features? `python -m scripts.studies.square_sums`.

Times, in turns on one square tensor, ways to sum the squares of the 18 features that are as large as the
tensor, and beside them the other parts of an update: the running averages and the network. Prints medians.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

from celo._core.checks import whole
from celo.evaluation.report.table import Table
from celo.scripts import checks


@dataclasses.dataclass(frozen=True)
class SquareSums:
    """Time the parts of an update of Celo on a square tensor.

    Attributes:
        sides: number of rows and columns of the tensors; multiples of 128.
        rounds: how often each part is timed, in turns.
    """

    sides: tuple[int, ...] = (1024,)
    rounds: Annotated[int, whole(3, 1000)] = 20

    def __post_init__(self) -> None:
        for side in self.sides:
            if side < 128 or side % 128 or side > 1 << 14:
                raise ValueError(f"sides has {side}; expected multiples of 128 up to {1 << 14}")

    def run(self) -> None:
        """Prints a table with a row per part and a column per side."""
        columns = {side: times(side, self.rounds) for side in self.sides}
        header = ("milliseconds", *(f"{side} x {side}" for side in columns))
        names = next(iter(columns.values()), {})
        rows = [(name, *(f"{column[name]:.2f}" for column in columns.values())) for name in names]
        print(Table(header, tuple(rows)).markdown())


def times(side: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each part, by name."""
    import jax

    arguments = example(side)
    programs = {name: jax.jit(of).lower(*arguments).compile() for name, of in parts().items()}
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds + 1):  # the first round touches memory for the first time
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            found[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(each[1:]) for name, each in found.items()}


def example(side: int) -> tuple[Any, Any, Any]:
    """Gradient, parameters, and running averages that have seen the gradient."""
    import jax
    import jax.numpy as jnp

    from celo._core import averages
    from celo.learned.celo import DECAYS

    g, p = (0.1 * jax.random.normal(key, (side, side)) for key in jax.random.split(jax.random.key(0)))
    return g, p, jax.jit(averages.update, static_argnums=2)(averages.init(jnp.zeros_like(p)), g, DECAYS)


def parts() -> dict[str, Callable[..., Any]]:
    """Functions of gradient, parameters and averages: first the ways to sum, then the rest of an update."""
    import jax
    import jax.numpy as jnp

    from celo._core import averages, features, mlp
    from celo.learned.celo import DECAYS, MLP_SIZES

    theta = mlp.init(jax.random.key(1), MLP_SIZES)

    def squares(g: Any, p: Any, old: Any) -> list[Any]:
        return [jnp.square(x) for x in features.celo_features(g, p, *old) if x.shape == g.shape]

    def jointly(xs: list[Any], axis: int) -> Any:
        def add(a: tuple, b: tuple) -> tuple:
            return tuple(map(jax.lax.add, a, b))

        runs = jax.lax.reduce(tuple(xs), (jnp.float32(0.0),) * len(xs), add, (axis,))
        return [jnp.sum(run) for run in runs]

    def in_runs(length: int) -> Callable[..., Any]:
        return lambda *a: jointly([x.reshape(len(x), -1, length) for x in squares(*a)], 2)

    return {
        "18 separate sums": lambda *a: [jnp.sum(x) for x in squares(*a)],
        "joint, over runs of 128 (in use)": in_runs(128),
        "joint, over runs of 8": in_runs(8),
        "joint, over rows": lambda *a: jointly(squares(*a), 1),
        "joint, over columns": lambda *a: jointly(squares(*a), 0),
        "running averages": lambda g, p, old: averages.update(old, g, DECAYS),
        "network": lambda g, p, old: mlp.apply(
            theta, features.celo_features(g, p, *old), jnp.ones(features.NUM_FEATURES), outputs=2
        ),
    }


main = checks.program(SquareSums, "square_sums", __doc__)

if __name__ == "__main__":
    sys.exit(main())
