"""What an update costs: its time as a ratio to optax's Adam, and the size of the state.

Wall-clock times on a shared machine drift by tens of per cent within a minute, ratios of neighbouring
measurements much less. So Adam is timed right before or right after, in turns, each time anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo import HAND_DESIGNED, LEARNED, hand_designed, learned_optimizer
from celo._core.names import unknown_name

PyTree = Any

LEARNING_RATE = 1e-3
NUM_STEPS = 10_000
# Time of a block of calls: long against the resolution of the clock and the waking of threads.
BLOCK_SECONDS = 1e-2
LEAST_ROUNDS = 3


class TooLargeError(MemoryError):
    """An update whose arrays and intermediate results do not fit into the memory allowed."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to measure one optimizer on one tree.

    Attributes:
        calls: rounds, one block of calls of Adam and one of the optimizer each.
        seconds: no further round is begun after this time, once there were three.
        gibibytes: memory allowed for an update; 0 = no limit.
    """

    calls: int = 20
    seconds: float = 5.0
    gibibytes: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.calls < LEAST_ROUNDS:
            raise ValueError(f"calls is {self.calls}; expected at least {LEAST_ROUNDS}, to take a median of")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds}; expected a positive number")
        if not 0 <= self.gibibytes < math.inf:
            raise ValueError(f"gibibytes is {self.gibibytes}; expected 0 (no limit) or a positive number")


class Cost(NamedTuple):
    """What `measure` found.

    Attributes:
        ratio: median over rounds of the time of an update over that of one of Adam.
        ratio_low: lower quartile.
        ratio_high: upper quartile.
        milliseconds: median time of an update.
        adam_milliseconds: median time of one of Adam.
        rounds: how many rounds.
        compile_seconds: to compile the update.
        mebibytes: memory of an update: what it reads and writes, and intermediate results.
    """

    ratio: float
    ratio_low: float
    ratio_high: float
    milliseconds: float
    adam_milliseconds: float
    rounds: int
    compile_seconds: float
    mebibytes: float


def optimizer_names() -> tuple[str, ...]:
    """Names of every optimizer: the learned ones, then the hand-designed."""
    return (*LEARNED, *HAND_DESIGNED)


def build(name: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer to measure: random meta-parameters or a learning rate of 0.001, on which no cost depends.

    Raises:
        ValueError: for an unknown name.
    """
    if name in HAND_DESIGNED:
        return hand_designed(name, LEARNING_RATE)
    if name not in LEARNED:
        raise unknown_name("optimizer", name, optimizer_names())
    learned = learned_optimizer(name)
    return learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), NUM_STEPS)


def fingerprint(shapes: PyTree) -> str:
    """The same for trees of equal paths, shapes and dtypes: what decides the cost of an update."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    described = [[jax.tree_util.keystr(path), list(x.shape), str(x.dtype)] for path, x in leaves]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def count(shapes: PyTree) -> int:
    """Number of parameters."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def state_bytes_per_parameter(optimizer: optax.GradientTransformationExtraArgs, shapes: PyTree) -> float:
    """Bytes of the optimizer's state over the number of parameters; nothing is computed.

    Example:
        >>> shapes = {"w": jax.ShapeDtypeStruct((1000, 1000), jnp.float32)}
        >>> round(state_bytes_per_parameter(optax.adam(0.1), shapes), 3)
        8.0
    """
    state = jax.eval_shape(optimizer.init, shapes)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)) / count(shapes)


class Stepper:
    """The compiled update of an optimizer on a tree, called again and again; its state is donated.

    Args:
        optimizer: what to measure.
        shapes: the parameters, a pytree with shapes and dtypes.
        gibibytes: memory allowed; 0 = no limit.

    Raises:
        TooLargeError: if the compiled update needs more memory than allowed.
    """

    def __init__(
        self, optimizer: optax.GradientTransformationExtraArgs, shapes: PyTree, gibibytes: float = 0.0
    ):
        def update(state: PyTree, grads: PyTree, params: PyTree, loss: Array) -> tuple[PyTree, PyTree]:
            updates, state = optimizer.update(grads, state, params, value=loss)
            return state, updates

        began = time.perf_counter()
        state = jax.eval_shape(optimizer.init, shapes)
        loss = jax.ShapeDtypeStruct((), jnp.float32)
        lowered = jax.jit(update, donate_argnums=0).lower(state, shapes, shapes, loss)
        self._update = lowered.compile()
        self.compile_seconds = time.perf_counter() - began
        self.bytes = _memory(self._update)
        if gibibytes and self.bytes > gibibytes * 2**30:
            raise TooLargeError(
                f"an update needs {self.bytes / 2**30:.1f} GiB; {gibibytes:g} GiB are allowed"
            )
        self._params, self._grads = (_random(shapes, seed, scale) for seed, scale in ((0, 0.1), (1, 0.01)))
        self._loss = jnp.asarray(2.0, jnp.float32)
        self._state = jax.jit(optimizer.init)(self._params)
        self._run(2)  # the first call touches its memory for the first time
        self._calls = max(1, round(BLOCK_SECONDS / self._run(1)))

    def block(self) -> float:
        """Seconds per call over a block of calls."""
        return self._run(self._calls) / self._calls

    def _run(self, calls: int) -> float:
        began = time.perf_counter()
        updates = None
        for _ in range(calls):
            self._state, updates = self._update(self._state, self._grads, self._params, self._loss)
        jax.block_until_ready((self._state, updates))
        return time.perf_counter() - began


def measure(stepper: Stepper, adam: Stepper, budget: Budget) -> Cost:
    """Times an optimizer against Adam, in turns.

    Args:
        stepper: the optimizer.
        adam: optax's Adam on the same tree.
        budget: how long.

    Returns:
        The cost; ratios are taken within a round.
    """
    began, rounds = time.perf_counter(), []
    while len(rounds) < budget.calls:
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - began > budget.seconds:
            break
        if len(rounds) % 2:
            other, base = stepper.block(), adam.block()
        else:
            base, other = adam.block(), stepper.block()
        rounds.append((other, base))
    seconds = np.array(rounds)
    low, ratio, high = np.quantile(seconds[:, 0] / seconds[:, 1], [0.25, 0.5, 0.75]).tolist()
    milliseconds, adam_milliseconds = (1e3 * np.median(seconds, axis=0)).tolist()
    mebibytes = stepper.bytes / 2**20
    return Cost(
        ratio, low, high, milliseconds, adam_milliseconds, len(rounds), stepper.compile_seconds, mebibytes
    )


def _memory(compiled: Any) -> int:
    """Bytes of arguments, results and intermediate results; donated state counts once."""
    sizes = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )


def _random(shapes: PyTree, seed: int, scale: float) -> PyTree:
    """Normal numbers of these shapes, drawn on the host: nothing is compiled for them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(scale * rng.standard_normal(x.shape, np.float32), x.dtype), shapes
    )
