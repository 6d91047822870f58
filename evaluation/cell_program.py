"""The compiled program of a cell: one optimizer on one task, many configurations and seeds at a time.

Configurations and seeds are two axes of `jax.vmap`, so that the batches of a seed are made once for all
configurations. The program is compiled for chunks of one size. A chunk of a single training has no `vmap` at
all: on a CPU that is the fastest way (see `at_once`).
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import SingleDeviceSharding

from celo.evaluation.contestants import Contestant
from celo.evaluation.hyperparameters import Configuration
from celo.evaluation.memory import equal_chunks
from celo.evaluation.rules import Rule
from celo.meta.compile import jit
from celo.meta.evaluated_training import EvaluatedTraining, Progress
from celo.meta.tasks.base import Task

PyTree = Any
_CALLS = 20  # per chunk: between them a program says how far it is, and can be stopped


class Size(NamedTuple):
    """How many configurations and seeds one call trains."""

    configurations: int
    seeds: int

    @property
    def trainings(self) -> int:
        """How many trainings one call has."""
        return self.configurations * self.seeds


class Chunk(NamedTuple):
    """Part of a cell: where it begins, and what is in it."""

    row: int
    column: int
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]


class Measured(NamedTuple):
    """What a chunk gives; leading axes are configurations and seeds.

    Attributes:
        loss: (C, S, T) training loss.
        eta: (C, S, T) step sizes.
        final_loss: (C, S) final loss.
        evaluations: (C, S, E) by name.
        step_seconds: wall-clock seconds of a step of one training, as one among those of the chunk, without
            compilation and evaluations.
        seconds: wall-clock seconds of the chunk.
    """

    loss: np.ndarray
    eta: np.ndarray
    final_loss: np.ndarray
    evaluations: dict[str, np.ndarray]
    step_seconds: float
    seconds: float


class StopRequestedError(Exception):
    """The work was asked to stop."""


def largest_size(configurations: int, seeds: int, trainings: int) -> Size:
    """The largest chunk of at most so many trainings, with chunks of equal size.

    Seeds of one configuration stay together if they can.

    >>> largest_size(14, 3, 21), largest_size(14, 3, 2)
    (Size(configurations=7, seeds=3), Size(configurations=1, seeds=2))
    """
    if trainings >= seeds:
        return Size(equal_chunks(configurations, trainings // seeds)[1], seeds)
    return Size(1, equal_chunks(seeds, trainings)[1])


class Functions(NamedTuple):
    """The jitted parts of a program; task and theta are shared, configurations and seeds are axes."""

    begin: Any
    advance: Any
    final_loss: Any


def at_once(device: Any, trainings: int) -> int:
    """How many of so many trainings a device does side by side, if memory allows: all, on a CPU one.

    A core is filled by the products of a single training, whose arrays stay in its cache. Under `vmap` they
    do not, and XLA's CPU backend transposes every weight matrix at every step. Trainings are side by side on
    a CPU all the same, as each core is a device.
    """
    return 1 if device.platform == "cpu" else trainings


@functools.lru_cache(maxsize=64)
def functions(rule: Rule, plan: EvaluatedTraining, size: Size) -> Functions:
    """The parts of the program of an optimizer; jitted anew for every structure of task and shape.

    Args:
        rule: how to make the optimizer.
        plan: the training.
        size: of one call.
    """

    def begin(task: Task, theta: PyTree, hyperparameters: PyTree, key: Array) -> Progress:
        return plan.begin(task, rule.optimizer(theta, hyperparameters, plan.num_steps), key)

    def advance(
        task: Task, theta: PyTree, hyperparameters: PyTree, key: Array, progress: Progress, *bounds: Array
    ) -> Progress:
        optimizer = rule.optimizer(theta, hyperparameters, plan.num_steps)
        return plan.advance(task, optimizer, key, progress, *bounds)

    def mapped(function: Callable[..., Any], inner: tuple, outer: tuple, **kwargs: Any) -> Any:
        if size.trainings == 1:
            return jit(_of_one(function, inner, outer), **kwargs)
        # The size is told, as an optimizer without hyperparameters has no array to read it from.
        both = jax.vmap(jax.vmap(function, inner), outer, axis_size=size.configurations)
        return jit(both, **kwargs)

    return Functions(
        mapped(begin, (None, None, None, 0), (None, None, 0, None)),
        mapped(
            advance,
            (None, None, None, 0, 0, None, None),
            (None, None, 0, None, 0, None, None),
            donate_argnums=4,
        ),
        mapped(plan.final_loss, (None, 0, 0), (None, None, 0)),
    )


def _of_one(function: Callable[..., Any], inner: tuple, outer: tuple) -> Callable[..., Any]:
    """What `jax.vmap` along ``inner`` and ``outer`` axes 0 gives where both have length 1, without `vmap`."""

    def of_one(*args: Any) -> Any:
        axes = [(axis is not None) + (other is not None) for axis, other in zip(inner, outer, strict=True)]
        bare = [
            jax.tree.map(lambda x, count=count: x[(0,) * count], arg)
            for arg, count in zip(args, axes, strict=True)
        ]
        return jax.tree.map(lambda x: x[None, None], function(*bare))

    return of_one


class CellProgram:
    """Trains chunks of one cell on one device; compiled once, at construction.

    Attributes:
        compile_seconds: how long compiling took.
        parameters: number of parameters of the model.
        state_bytes: bytes of the optimizer's state of one training.
        has_eta: whether the optimizer has a step size that a learned scheduler sets.

    Args:
        contestant: the optimizer.
        task: the task.
        plan: the training.
        key: the key all seeds are folded into.
        size: how many configurations and seeds go at a time.
        device: where.
    """

    def __init__(
        self,
        contestant: Contestant,
        task: Task,
        plan: EvaluatedTraining,
        key: Array,
        size: Size,
        device: Any,
    ):
        self.plan, self.size, self.device = plan, size, device
        self._functions = functions(contestant.rule, plan, size)
        self._evaluation_seconds = math.inf
        # By way of the host: theta may be on several devices.
        theta = jax.tree.map(np.asarray, contestant.theta)
        self._task, self._theta, self._key = jax.device_put((task, theta, key), device)
        configurations = contestant.configurations[:1] * size.configurations
        arguments = self._arguments(configurations, (0,) * size.seeds)
        began = time.perf_counter()
        shapes = jax.eval_shape(self._functions.begin, *arguments)
        here = SingleDeviceSharding(device)
        progress = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
        self._advance = self._functions.advance.lower(*arguments, progress, 0, 0).compile()
        self.compile_seconds = time.perf_counter() - began
        self.parameters, self.state_bytes = _footprint(shapes, size)
        self.has_eta = len(optax.tree_utils.tree_get_all_with_path(shapes.position.opt_state, "eta")) == 1

    @property
    def bytes(self) -> int:
        """Memory of a call: data of the task, all trainings, and what is computed on the way."""
        analysis = self._advance.memory_analysis()
        if analysis is None:
            return 0
        return int(
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes
            - analysis.alias_size_in_bytes
        )

    @property
    def shared_bytes(self) -> int:
        """What of `bytes` does not depend on the number of trainings: data and meta-parameters."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves((self._task, self._theta)))

    def run(
        self,
        chunk: Chunk,
        advanced: Callable[[float], None] = lambda fraction: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Measured:
        """Trains a chunk, filled up with copies of its last configuration and seed to the compiled size.

        Args:
            chunk: of at most ``size.configurations`` and ``size.seeds``.
            advanced: gets the part done, in (0, 1], after every call.
            stopped: asked after every call whether to stop.

        Raises:
            StopRequestedError: if it is to stop.
        """
        started = time.perf_counter()
        arguments = self._arguments(chunk.configurations, chunk.seeds)
        # The last evaluation, which no step follows, is a call of its own: its time is that of evaluations.
        last = self.plan.evaluations - 1
        bounds = np.unique(np.linspace(0, last, min(_CALLS, last) + 1).astype(np.int32))
        progress = jax.block_until_ready(self._functions.begin(*arguments))
        began = time.perf_counter()
        for first, end in itertools.pairwise(bounds):
            progress = jax.block_until_ready(self._advance(*arguments, progress, first, end))
            if stopped():
                raise StopRequestedError
            advanced(float(end) / last)
        seconds = time.perf_counter() - began
        progress = self._evaluate_last(arguments, progress)
        final_loss = self._functions.final_loss(self._task, arguments[3], progress)
        steps = max(0.0, seconds - last * self._evaluation_seconds)
        spent = steps / self.plan.num_steps / self.size.trainings
        kept = (slice(len(chunk.configurations)), slice(len(chunk.seeds)))
        loss, eta, final_loss, evaluations = jax.tree.map(
            lambda x: np.asarray(x)[kept], (progress.loss, progress.eta, final_loss, progress.evaluations)
        )
        return Measured(loss, eta, final_loss, evaluations, spent, time.perf_counter() - started)

    def _evaluate_last(self, arguments: tuple, progress: Progress) -> Progress:
        """Makes the last evaluation, and times it: by three calls in the first chunk, as disturbance adds."""
        last = self.plan.evaluations - 1
        for _ in range(3 if math.isinf(self._evaluation_seconds) else 1):
            began = time.perf_counter()
            progress = jax.block_until_ready(self._advance(*arguments, progress, last, last + 1))
            self._evaluation_seconds = min(self._evaluation_seconds, time.perf_counter() - began)
        return progress

    def _arguments(self, configurations: Sequence[Configuration], seeds: Sequence[int]) -> tuple:
        """Task, theta, hyperparameters (C,) and keys (S,)."""
        rows = [*configurations, *[configurations[-1]] * (self.size.configurations - len(configurations))]
        numbers = [*seeds, *[seeds[-1]] * (self.size.seeds - len(seeds))]
        names = sorted(configurations[0])
        hyperparameters = {name: np.asarray([row[name] for row in rows], np.float32) for name in names}
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self._key, jnp.asarray(numbers, jnp.uint32))
        return self._task, self._theta, *jax.device_put((hyperparameters, keys), self.device)


def _footprint(progress: Progress, size: Size) -> tuple[int, int]:
    """Number of parameters, and bytes of the optimizer's state, of one training."""
    position = progress.position
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(position.params))
    state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(position.opt_state))
    return parameters // size.trainings, state // size.trainings
