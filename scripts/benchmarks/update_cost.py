"""What an update costs: its time against optax's Adam and against the memory's speed, and its memory.

Wall-clock times on a shared machine drift by tens of per cent within a minute, ratios of neighbouring
measurements much less. So Adam and a pass over memory are timed in turns with every optimizer.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo import HAND_DESIGNED, LEARNED, hand_designed, learned_optimizer
from celo._core import names
from celo.evaluation.options import split_options
from celo.scripts.benchmarks import trees
from celo.scripts.devices import core_count
from celo.wrappers import rounded_state

PyTree = Any

OPTIMIZERS = (*LEARNED, *HAND_DESIGNED)
LEARNING_RATE = 1e-3
NUM_STEPS = 10_000
# Time of a block of calls: long against the resolution of the clock and the waking of threads.
BLOCK_SECONDS = 1e-2
LEAST_ROUNDS = 3
# Bytes of the longest pass: far beyond caches, so that a longer one takes proportionally more time.
LONGEST_PASS = 1 << 28


def machine() -> dict[str, Any]:
    """Where figures are measured, and with which versions."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("celo", "jax", "optax")}
    place = {"device": device.device_kind, "platform": device.platform, "host": platform.machine()}
    return {**place, "cores": core_count(), **versions}


def state_bytes(task: str, optimizer: str) -> float:
    """Bytes of an optimizer's state per parameter of a tree; nothing is computed."""
    shapes = trees.shapes(task)
    state = jax.eval_shape(lambda params: build(optimizer).init(params), shapes)
    return trees.size(state) / trees.count(shapes)


def cost(task: str, optimizer: str, calls: int, seconds: float, gibibytes: float) -> dict[str, float]:
    """`measure` of an optimizer on a tree, or MemoryError as of `Stepper`."""
    shapes = trees.shapes(task)
    stepper = Stepper(build(optimizer), shapes, gibibytes)
    return measure(stepper, Stepper(optax.adam(LEARNING_RATE), shapes), Pass(stepper.moved), calls, seconds)


def build(text: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer with random meta-parameters or a learning rate of 0.001; neither changes its cost.

    Args:
        text: a name, or ``NAME[option=value,...]`` with options of that optimizer and, for any optimizer,
            ``state_dtype=bfloat16``.

    Raises:
        ValueError: for an unknown name, an option with several values, or a value that an option does not
            take.
        TypeError: for an unknown option.
    """
    name, grids = split_options(text)
    names.lookup("optimizer", name, dict.fromkeys(OPTIMIZERS))
    options: dict[str, Any] = {option: values[0] for option, values in grids.items()}
    for option, values in grids.items():
        if len(values) > 1:
            raise ValueError(f"the option {option} of {text} has {len(values)} values; expected one")
    dtype = options.pop("state_dtype", "float32")
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"state_dtype is {dtype!r}; expected 'float32' or 'bfloat16'")
    if name in LEARNED:
        made = _learned(name, options)
    else:
        made = hand_designed(name, options.pop("learning_rate", LEARNING_RATE), **options)
    return rounded_state(made) if dtype == "bfloat16" else made


def _learned(name: str, options: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer from fields of its configuration and further arguments of its `optimizer`."""
    fields = names.options(LEARNED[name])
    learned: Any = learned_optimizer(name, **{x: options.pop(x) for x in fields if x in options})
    known = names.options(learned.optimizer, ("theta", "num_steps"))
    names.check_options(name, options, [*fields, *known])
    return learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), NUM_STEPS, **options)


class Repeated:
    """A compiled function of donated arrays that returns their successors, called again and again."""

    def __init__(self, call: Any, donated: tuple[PyTree, ...], *fixed: PyTree):
        self._call, self._donated, self._fixed = call, donated, fixed
        self._run(2)  # the first call touches its memory for the first time
        self._calls = max(1, round(BLOCK_SECONDS / self._run(1)))

    def block(self) -> float:
        """Seconds per call over a block of calls."""
        return self._run(self._calls) / self._calls

    def _run(self, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            self._donated = self._call(*self._donated, *self._fixed)
        jax.block_until_ready(self._donated)
        return time.perf_counter() - start


class Stepper(Repeated):
    """The compiled update of an optimizer, applied to parameters; those and its state are donated.

    MemoryError where arrays and intermediate results need more than ``gibibytes``; 0 = no limit.

    Attributes:
        compile_seconds: time to trace and compile.
        bytes: memory of an update: what it reads and writes, and intermediate results.
        moved: bytes that any update must read (parameters, gradients, state) and write (parameters, state).
    """

    def __init__(
        self, optimizer: optax.GradientTransformationExtraArgs, shapes: PyTree, gibibytes: float = 0.0
    ):
        def update(state: PyTree, params: PyTree, grads: PyTree, loss: Array) -> tuple[PyTree, PyTree]:
            updates, state = optimizer.update(grads, state, params, value=loss)
            return state, optax.apply_updates(params, updates)

        start = time.perf_counter()
        state, loss = jax.eval_shape(optimizer.init, shapes), jax.ShapeDtypeStruct((), jnp.float32)
        compiled = jax.jit(update, donate_argnums=(0, 1)).lower(state, shapes, shapes, loss).compile()
        self.compile_seconds = time.perf_counter() - start
        self.moved = 3 * trees.size(shapes) + 2 * trees.size(state)
        sizes: Any = compiled.memory_analysis()
        self.bytes = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
        self.bytes += sizes.temp_size_in_bytes - sizes.alias_size_in_bytes  # donated arrays count once
        if gibibytes and self.bytes > gibibytes * 2**30:
            raise MemoryError(f"an update needs {self.bytes / 2**30:.1f} GiB; {gibibytes:g} GiB are allowed")
        params, grads = (_random(shapes, seed, scale) for seed, scale in ((0, 0.1), (1, 0.01)))
        state = jax.jit(optimizer.init)(params)
        super().__init__(compiled, (state, params), grads, jnp.asarray(2.0, jnp.float32))


class Pass(Repeated):
    """Reads an array and writes it in place: the floor of an update that moves as many bytes.

    An array as large as what the update moves stays in the same cache. A copy to a new array would be no
    floor: the system clears new memory first, which takes several times as long as the copy.
    """

    def __init__(self, moved: int):
        length = max(1, min(moved, LONGEST_PASS) // 8)  # four bytes read and four written
        self._share = moved / (8 * length)
        compiled = jax.jit(lambda x: (-x,), donate_argnums=0)
        super().__init__(compiled, (jnp.ones(length, jnp.float32),))

    def block(self) -> float:
        """Seconds per pass over a block of passes."""
        return super().block() * self._share


def _random(shapes: PyTree, seed: int, scale: float) -> PyTree:
    """Normal numbers drawn on the host, so that nothing is compiled for them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(scale * rng.standard_normal(x.shape, np.float32), x.dtype), shapes
    )


def measure(
    stepper: Stepper, adam: Repeated, floor: Repeated, calls: int, seconds: float
) -> dict[str, float]:
    """Times an optimizer against Adam and the floor, in rounds of one block of calls each, in turns.

    There are at most ``calls`` rounds; after ``seconds`` no round starts, once there were three.

    Returns:
        Quartiles of the ratio of times to Adam's within a round and the median ratio to the floor, median
        times, number of rounds, seconds to compile, and mebibytes that an update needs and must move.
    """
    start, rounds, turn = time.perf_counter(), [], (adam, floor, stepper)
    while len(rounds) < calls:
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
            break
        seconds_of = {one: one.block() for one in turn}
        rounds.append([seconds_of[one] for one in (stepper, adam, floor)])
        turn = turn[::-1]
    times = np.array(rounds)
    quartiles = np.quantile(times[:, 0] / times[:, 1], [0.5, 0.25, 0.75]).tolist()
    medians = (1e3 * np.median(times, axis=0)).tolist()
    return {
        **dict(zip(("ratio", "ratio_low", "ratio_high"), quartiles, strict=True)),
        "floor_ratio": float(np.median(times[:, 0] / times[:, 2])),
        **dict(zip(("milliseconds", "adam_milliseconds", "floor_milliseconds"), medians, strict=True)),
        "rounds": len(rounds),
        "compile_seconds": stepper.compile_seconds,
        "mebibytes": stepper.bytes / 2**20,
        "moved_mebibytes": stepper.moved / 2**20,
    }
