"""What an update costs: its time as a ratio to optax's Adam, and the size of the state.

Wall-clock times on a shared machine drift by tens of per cent within a minute, ratios of neighbouring
measurements much less. So Adam is timed in turns with every optimizer, each time anew.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo import HAND_DESIGNED, hand_designed, learned_optimizer
from celo.meta.tasks import parameter_shapes
from celo.scripts.devices import core_count

PyTree = Any

LEARNING_RATE = 1e-3
NUM_STEPS = 10_000
# Time of a block of calls: long against the resolution of the clock and the waking of threads.
BLOCK_SECONDS = 1e-2
LEAST_ROUNDS = 3


def machine() -> dict[str, Any]:
    """Where figures are measured, and with which versions."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("celo", "jax", "optax")}
    place = {"device": device.device_kind, "platform": device.platform, "host": platform.machine()}
    return {**place, "cores": core_count(), **versions}


def tree(task: str) -> dict[str, Any]:
    """Number of a task's tensors and parameters, and a name for trees of equal paths, shapes and dtypes."""
    shapes = parameter_shapes(task)
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    described = [[jax.tree_util.keystr(path), list(x.shape), str(x.dtype)] for path, x in leaves]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    return {"tree": digest, "tensors": len(leaves), "parameters": _count(shapes)}


def state_bytes(task: str, optimizer: str) -> float:
    """Bytes of an optimizer's state per parameter of a task."""
    return state_bytes_per_parameter(build(optimizer), parameter_shapes(task))


def cost(task: str, optimizer: str, calls: int, seconds: float, gibibytes: float) -> dict[str, float]:
    """`measure` of an optimizer on a task's parameters, or MemoryError as of `Stepper`."""
    adam = _adam(task)
    return measure(Stepper(build(optimizer), parameter_shapes(task), gibibytes), adam, calls, seconds)


@functools.lru_cache(maxsize=1)
def _adam(task: str) -> Stepper:
    return Stepper(optax.adam(LEARNING_RATE), parameter_shapes(task))


def build(name: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer with random meta-parameters or a learning rate of 0.001; neither changes its cost."""
    if name in HAND_DESIGNED:
        return hand_designed(name, LEARNING_RATE)
    learned = learned_optimizer(name)
    return learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), NUM_STEPS)


def state_bytes_per_parameter(optimizer: optax.GradientTransformationExtraArgs, shapes: PyTree) -> float:
    """Bytes of the optimizer's state over the number of parameters; nothing is computed.

    Example:
        >>> shapes = {"w": jax.ShapeDtypeStruct((1000, 1000), jnp.float32)}
        >>> round(state_bytes_per_parameter(optax.adam(0.1), shapes), 3)
        8.0
    """
    state = jax.eval_shape(optimizer.init, shapes)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)) / _count(shapes)


def _count(shapes: PyTree) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


class Stepper:
    """The compiled update of an optimizer on a tree, called again and again; its state is donated.

    MemoryError where arrays and intermediate results need more than ``gibibytes``; 0 = no limit.
    """

    def __init__(
        self, optimizer: optax.GradientTransformationExtraArgs, shapes: PyTree, gibibytes: float = 0.0
    ):
        def update(state: PyTree, grads: PyTree, params: PyTree, loss: Array) -> tuple[PyTree, PyTree]:
            updates, state = optimizer.update(grads, state, params, value=loss)
            return state, updates

        start = time.perf_counter()
        state, loss = jax.eval_shape(optimizer.init, shapes), jax.ShapeDtypeStruct((), jnp.float32)
        self._update = jax.jit(update, donate_argnums=0).lower(state, shapes, shapes, loss).compile()
        self.compile_seconds = time.perf_counter() - start
        sizes: Any = self._update.memory_analysis()
        self.bytes = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
        self.bytes += sizes.temp_size_in_bytes - sizes.alias_size_in_bytes  # donated state counts once
        if gibibytes and self.bytes > gibibytes * 2**30:
            raise MemoryError(f"an update needs {self.bytes / 2**30:.1f} GiB; {gibibytes:g} GiB are allowed")
        self._params, self._grads = (_random(shapes, seed, scale) for seed, scale in ((0, 0.1), (1, 0.01)))
        self._loss = jnp.asarray(2.0, jnp.float32)
        self._state = jax.jit(optimizer.init)(self._params)
        self._run(2)  # the first call touches its memory for the first time
        self._calls = max(1, round(BLOCK_SECONDS / self._run(1)))

    def block(self) -> float:
        """Seconds per call over a block of calls."""
        return self._run(self._calls) / self._calls

    def _run(self, calls: int) -> float:
        start, updates = time.perf_counter(), None
        for _ in range(calls):
            self._state, updates = self._update(self._state, self._grads, self._params, self._loss)
        jax.block_until_ready((self._state, updates))
        return time.perf_counter() - start


def _random(shapes: PyTree, seed: int, scale: float) -> PyTree:
    """Normal numbers drawn on the host, so that nothing is compiled for them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(scale * rng.standard_normal(x.shape, np.float32), x.dtype), shapes
    )


def measure(stepper: Stepper, adam: Stepper, calls: int, seconds: float) -> dict[str, float]:
    """Times an optimizer against Adam on the same tree, in rounds of one block of calls each, in turns.

    There are at most ``calls`` rounds; after ``seconds`` no round starts, once there were three.

    Returns:
        Quartiles of the ratio of times within a round, median times, number of rounds, seconds to compile,
        and mebibytes of an update: what it reads and writes, and intermediate results.
    """
    start, rounds = time.perf_counter(), []
    while len(rounds) < calls:
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
            break
        turn = (stepper, adam) if len(rounds) % 2 else (adam, stepper)
        seconds_of = {one: one.block() for one in turn}
        rounds.append((seconds_of[stepper], seconds_of[adam]))
    times = np.array(rounds)
    quartiles = np.quantile(times[:, 0] / times[:, 1], [0.5, 0.25, 0.75]).tolist()
    medians = (1e3 * np.median(times, axis=0)).tolist()
    return {
        **dict(zip(("ratio", "ratio_low", "ratio_high"), quartiles, strict=True)),
        **dict(zip(("milliseconds", "adam_milliseconds"), medians, strict=True)),
        "rounds": len(rounds),
        "compile_seconds": stepper.compile_seconds,
        "mebibytes": stepper.bytes / 2**20,
    }
