"""One compiled program: a batch of trainings of one optimizer on one task, as many as fit the memory.

Between calls to the device a program reports its progress and can be stopped.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import SingleDeviceSharding

from celo.evaluation.optimizers import Optimizer
from celo.evaluation.plan import EvaluatedTraining, Progress
from celo.evaluation.results import Training
from celo.evaluation.sweep import Sweep, Wanted, numerics
from celo.meta.compile import jit
from celo.meta.runs.provenance import provenance
from celo.meta.tasks.base import Task

PyTree = Any
_CALLS = 20  # per batch


class Measured(NamedTuple):
    """What a batch of N trainings gives: columns of `celo.evaluation.results.Training`, arrays as (N, ...).

    Both times are those of the batch, divided by N.
    """

    loss: np.ndarray
    eta: np.ndarray | None
    final_loss: np.ndarray
    evaluations: dict[str, np.ndarray]
    step_seconds: float
    seconds: float


class StopRequestedError(Exception):
    """The user has requested a stop."""


class Program:
    """Trains batches of one optimizer on one task on one device; compiled once, at construction.

    A batch of one training has no `jax.vmap`: on a CPU that is the fastest way, as the arrays of one training
    stay in a core's cache and XLA's CPU backend does not transpose weight matrices at every step.

    Attributes:
        compile_seconds: seconds that compiling took.
        parameters: number of parameters of the model.
        state_bytes: bytes of the optimizer's state of one training.

    Args:
        key: the key that the number of a seed is folded into.
        size: number of trainings per call.
        device: a `jax.Device`.
    """

    def __init__(
        self, optimizer: Optimizer, task: Task, plan: EvaluatedTraining, key: Array, size: int, device: Any
    ):
        self.plan, self.size, self.device = plan, size, device
        self._evaluation_seconds = math.inf
        # By way of the host: theta may be on several devices.
        theta = jax.tree.map(np.asarray, optimizer.theta)
        self._shared = jax.device_put((task, theta), device)
        self._key = jax.device_put(key, device)

        def make(theta: PyTree, setting: PyTree) -> optax.GradientTransformation:
            return optimizer.make(theta, setting, plan.num_steps)

        def begin(task: Task, theta: PyTree, setting: PyTree, key: Array) -> Progress:
            return plan.begin(task, make(theta, setting), key)

        def advance(task: Task, theta: PyTree, setting: PyTree, *arguments: Any) -> Progress:
            return plan.advance(task, make(theta, setting), *arguments)

        self._begin = jit(_mapped(begin, "..xx", size))
        advanced = jit(_mapped(advance, "..xxx..", size), donate_argnums=4)
        self._final_loss = jit(_mapped(plan.final_loss, ".xx", size))
        arguments = self._arguments([optimizer.settings[0]], [0])
        began = time.perf_counter()
        shapes = jax.eval_shape(self._begin, *arguments)
        here = SingleDeviceSharding(device)
        progress = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
        self._advance = advanced.lower(*arguments, progress, *np.zeros(2, np.int32)).compile()
        self.compile_seconds = time.perf_counter() - began
        position = shapes.position
        self.parameters = sum(x.size for x in jax.tree.leaves(position.params)) // size
        state = jax.tree.leaves(position.opt_state)
        self.state_bytes = sum(x.size * x.dtype.itemsize for x in state) // size
        self._has_eta = len(optax.tree_utils.tree_get_all_with_path(position.opt_state, "eta")) == 1

    @property
    def bytes(self) -> int:
        """Memory of a call: data of the task, all trainings, and temporaries; 0 if not known."""
        sizes: Any = self._advance.memory_analysis()
        if sizes is None:
            return 0
        moved = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        return int(moved + sizes.temp_size_in_bytes)

    @property
    def shared_bytes(self) -> int:
        """Bytes that do not depend on the number of trainings: data and meta-parameters."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._shared))

    def run(
        self,
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        advanced: Callable[[float], None] = lambda fraction: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Measured:
        """Train a batch; one smaller than the compiled size is filled with copies of its last training.

        Args:
            settings: hyperparameters of each training, 1 to ``size`` of them.
            seeds: number of the seed of each.
            advanced: gets the fraction done, in (0, 1], after every call to the device.
            stopped: asked after every such call; true to stop, with a StopRequestedError.
        """
        started = time.perf_counter()
        arguments = self._arguments(settings, seeds)
        # The last evaluation, which no step follows, is a call by itself: its time is that of evaluations.
        last = self.plan.evaluations - 1
        bounds = np.unique(np.linspace(0, last, min(_CALLS, last) + 1).astype(np.int32))
        progress = jax.block_until_ready(self._begin(*arguments))
        began = time.perf_counter()
        for first, end in itertools.pairwise(bounds):
            progress = jax.block_until_ready(self._advance(*arguments, progress, first, end))
            if stopped():
                raise StopRequestedError
            advanced(float(end) / last)
        seconds = time.perf_counter() - began
        progress = self._evaluate_last(arguments, progress)
        final_loss = self._final_loss(arguments[0], arguments[3], progress)
        steps = max(0.0, seconds - last * self._evaluation_seconds) / self.plan.num_steps / self.size
        count, eta = len(settings), progress.eta if self._has_eta else None
        arrays = (progress.loss, eta, final_loss, progress.evaluations)
        loss, eta, final, evaluations = jax.tree.map(lambda x: np.asarray(x)[:count], arrays)
        return Measured(loss, eta, final, evaluations, steps, (time.perf_counter() - started) / count)

    def _evaluate_last(self, arguments: tuple, progress: Progress) -> Progress:
        """Make the last evaluation and time it: three times in the first batch, the shortest counts."""
        last = self.plan.evaluations - 1
        bounds = np.array([last, last + 1], np.int32)
        for _ in range(3 if math.isinf(self._evaluation_seconds) else 1):
            began = time.perf_counter()
            progress = jax.block_until_ready(self._advance(*arguments, progress, *bounds))
            self._evaluation_seconds = min(self._evaluation_seconds, time.perf_counter() - began)
        return progress

    def _arguments(self, settings: Sequence[Mapping[str, float]], seeds: Sequence[int]) -> tuple:
        """Task, theta, hyperparameters (size,) and keys (size,)."""
        rows = [*settings, *[settings[-1]] * (self.size - len(settings))]
        numbers = [*seeds, *[seeds[-1]] * (self.size - len(seeds))]
        values = {name: np.asarray([row[name] for row in rows], np.float32) for name in sorted(rows[0])}
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self._key, jnp.asarray(numbers, jnp.uint32))
        return *self._shared, *jax.device_put((values, keys), self.device)


def _mapped(function: Callable[..., Any], axes: str, size: int) -> Callable[..., Any]:
    """`jax.vmap` over the arguments marked "x" in ``axes``; without `jax.vmap` for a size of 1."""
    if size > 1:
        return jax.vmap(function, tuple(0 if axis == "x" else None for axis in axes), axis_size=size)

    def of_one(*args: Any) -> Any:
        pairs = zip(args, axes, strict=True)
        bare = [jax.tree.map(lambda x: x[0], arg) if axis == "x" else arg for arg, axis in pairs]
        return jax.tree.map(lambda x: x[None], function(*bare))

    return of_one


def fitting_program(
    optimizer: Optimizer,
    task: Task,
    plan: EvaluatedTraining,
    key: Array,
    count: int,
    device: Any,
    batch: int = 0,
) -> Program:
    """Compile the `Program` for ``count`` trainings: in equal batches of at most ``batch``.

    A ``batch`` of 0 is one on a CPU, elsewhere as many as 0.8 of the free memory holds, by the compiled
    program's memory analysis.

    Raises:
        MemoryError: XLA runs out of memory while it compiles, or one training does not fit.
    """
    size = _equal(count, batch or (1 if device.platform == "cpu" else count))
    with advised(size):
        program = Program(optimizer, task, plan, key, size, device)
    free = None if batch or device.platform == "cpu" else _free_bytes(device)
    if free is None or program.bytes <= free:
        return program
    each = max(1.0, (program.bytes - program.shared_bytes) / size)
    fits = int((free - program.shared_bytes) / each)
    if fits < 1:
        raise MemoryError(
            f"one training takes {(program.shared_bytes + each) / 2**30:.2f} GiB, more than the "
            f"{free / 2**30:.2f} GiB free on {device}; {_advice(1)}"
        )
    del program  # before its successor takes memory
    size = _equal(count, fits)
    with advised(size):
        return Program(optimizer, task, plan, key, size, device)


@contextlib.contextmanager
def advised(size: int) -> Iterator[None]:
    """Raise JAX's error that memory ran out with ``size`` trainings at once as a MemoryError with advice."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(f"{size} training(s) at once do not fit; {_advice(size)}") from error


def _advice(size: int) -> str:
    return f"pass --batch {size // 2}" if size > 1 else "use a device with more memory or a smaller task"


def _free_bytes(device: Any) -> int | None:
    """0.8 of the free memory of a device; None where it does not say."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(0.8 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))


def _equal(count: int, most: int) -> int:
    """Size of equal batches of at most ``most``: 14 of at most 10 go in batches of 7."""
    batches = math.ceil(count / max(1, most))
    return math.ceil(count / batches)


@functools.cache
def _made_with() -> dict[str, Any]:
    """Versions, revision and numerics of this process."""
    found = provenance()
    git = found["git"] or {}
    versions = {name: version or "" for name, version in found["versions"].items()}
    revision = (git.get("revision") or "") + ("+" if git.get("dirty") else "")
    return {"versions": versions, "revision": revision, "numerics": numerics()}


def made(
    asked: Sweep, batch: Sequence[Wanted], task: Task, program: Program, measured: Measured
) -> list[Training]:
    """The rows of a finished batch."""
    request, optimizer = asked.request, asked.optimizers[batch[0].optimizer]
    facts = _made_with() | {
        "spec": optimizer.spec,
        "learned": optimizer.learned,
        "steps": request.steps,
        "evaluation_steps": request.plan.steps,
        "evaluation_batches": request.eval_batches,
        "random_seed": request.seed,
        "loss_unit": task.loss_unit,
        "corpus": task.corpus,
        "vocabulary": task.vocabulary,
        "task_digest": asked.digests[batch[0].task],
        "optimizer_digest": optimizer.digest,
        "parameters": program.parameters,
        "state_bytes": program.state_bytes,
        "step_seconds": measured.step_seconds,
        "seconds": measured.seconds,
        "compile_seconds": program.compile_seconds,
        "trainings_at_once": program.size,
        "device": str(program.device.device_kind),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
    }
    return [
        Training(
            **one._asdict(),
            loss=measured.loss[i],
            eta=None if measured.eta is None else measured.eta[i],
            final_loss=float(measured.final_loss[i]),
            evaluations={name: values[i] for name, values in measured.evaluations.items()},
            **facts,
        )
        for i, one in enumerate(batch)
    ]
