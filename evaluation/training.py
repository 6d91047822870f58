"""One compiled program: a batch of trainings of one optimizer on one task, evaluated along the way.

`celo.meta.full_training.train` is one call from the first step to the last. `EvaluatedTraining` takes the
same steps from one evaluation to the next, any number per call, so that a program reports its progress and
stops between calls. The bounds of a call are traced: one program serves all calls, settings and seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import SingleDeviceSharding

from celo.baselines import eval_params
from celo.evaluation.optimizers import Optimizer
from celo.evaluation.results import SPLITS
from celo.meta.compile import jit
from celo.meta.full_training import Position, begin, check_num_steps, draw_samples, evaluate, take_step
from celo.meta.tasks.base import Task

PyTree = Any
_CALLS = 20  # per batch: between them a program reports its progress, and can be stopped


class Progress(NamedTuple):
    """The state of a training and what was measured so far; E evaluations, T steps.

    Attributes:
        position: parameters and states.
        loss: (T,) float32 training loss of each step's batch, before that step; 0 for steps not taken yet.
        eta: (T,) float32 step size, see `celo.meta.step_size.step_size`.
        evaluations: by ``{split}_loss``, and ``{split}_accuracy`` where the task has one, (E,) float32.
    """

    position: Position
    loss: Array
    eta: Array
    evaluations: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class EvaluatedTraining:
    """The plan of a training: evaluations before step 0, every ``every`` steps, and after the last.

    The key of a training decides initial parameters, batches and the batches of evaluations; equal keys give
    every optimizer the same problem. Loss curve and final loss are those of `celo.meta.full_training.train`
    and `evaluate_end` with the two halves of that key.

    Attributes:
        num_steps: T, number of steps.
        every: steps from one evaluation to the next.
        batches: batches per evaluation and split.

    Example:
        >>> from celo.baselines import hand_designed
        >>> from celo.meta.tasks import Quadratic
        >>> plan, task, key = EvaluatedTraining(3, every=2), Quadratic.of([1.0]), jax.random.key(0)
        >>> sgd = hand_designed("sgd", 0.5)
        >>> progress = plan.begin(task, sgd, key)
        >>> progress = plan.advance(task, sgd, key, progress, 0, plan.evaluations)
        >>> (progress.loss / progress.loss[0]).tolist()
        [1.0, 0.25, 0.0625]
        >>> plan.steps.tolist()
        [0, 2, 3]
    """

    num_steps: int
    every: int = 10
    batches: int = 5

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_num_steps(self.num_steps)
        for name in ("every", "batches"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        object.__setattr__(self, "every", min(self.every, self.num_steps))

    @property
    def steps(self) -> np.ndarray:
        """(E,) int64 steps taken before each evaluation."""
        return np.append(np.arange(0, self.num_steps, self.every), self.num_steps)

    @property
    def evaluations(self) -> int:
        """E, the number of evaluations."""
        return len(self.steps)

    def begin(self, task: Task, optimizer: optax.GradientTransformation, key: Array) -> Progress:
        """The training of a key before its first step and evaluation."""
        key_init = jax.random.split(_keys(key)[0], 3)[0]
        position = begin(task, optimizer, key_init)
        names = jax.eval_shape(partial(self._evaluate, task), position, key)
        empty = {name: jnp.zeros(self.evaluations, jnp.float32) for name in names}
        zeros = jnp.zeros(self.num_steps, jnp.float32)
        return Progress(position, zeros, zeros, empty)

    def advance(
        self,
        task: Task,
        optimizer: optax.GradientTransformation,
        key: Array,
        progress: Progress,
        first: int | Array,
        last: int | Array,
    ) -> Progress:
        """Make evaluations ``first`` to ``last - 1``, each with the steps up to the next; both may be traced.

        ``progress`` is the training before evaluation ``first``; the result, before evaluation ``last``.
        """
        _, key_batch, key_loss = jax.random.split(_keys(key)[0], 3)
        batch_keys = jax.random.split(key_batch, self.num_steps)
        loss_keys = jax.random.split(key_loss, self.num_steps)

        def block(i: Array, progress: Progress) -> Progress:
            found = self._evaluate(task, progress.position, jax.random.fold_in(_keys(key)[2], i))
            kept = {name: values.at[i].set(found[name]) for name, values in progress.evaluations.items()}
            start = i * self.every
            # In one call for the block: random bits cost mostly their number of calls.
            steps = jnp.minimum(start + jnp.arange(self.every), self.num_steps - 1)
            samples = jax.vmap(lambda k: task.sample(k, "train"))(batch_keys[steps])

            def step(t: Array, progress: Progress) -> Progress:
                sample = jax.tree.map(lambda x: x[t - start], samples)
                taken = take_step(task, optimizer, progress.position, sample, loss_keys[t])
                position, (loss, eta) = taken
                return Progress(
                    position, progress.loss.at[t].set(loss), progress.eta.at[t].set(eta), progress.evaluations
                )

            stop = jnp.minimum(start + self.every, self.num_steps)
            return jax.lax.fori_loop(start, stop, step, progress._replace(evaluations=kept))

        return jax.lax.fori_loop(jnp.asarray(first, jnp.int32), jnp.asarray(last, jnp.int32), block, progress)

    def final_loss(self, task: Task, key: Array, progress: Progress) -> Array:
        """() float32 mean training loss of ten batches after the last step."""
        params, model_state, opt_state = progress.position
        return evaluate(task, eval_params(opt_state, params), model_state, _keys(key)[1])[0]

    def _evaluate(self, task: Task, position: Position, key: Array) -> dict[str, Array]:
        """Mean loss and accuracy on each split, the model compiled once for all of them."""
        params = eval_params(position.opt_state, position.params)
        drawn = [
            (draw_samples(task, half[0], split, self.batches), jax.random.split(half[1], self.batches))
            for split, half in zip(
                SPLITS, map(jax.random.split, jax.random.split(key, len(SPLITS))), strict=True
            )
        ]
        gathers = [partial(task.gather, split) for split in SPLITS]

        def one(drawn: tuple[Array, tuple[PyTree, Array]]) -> dict[str, Array]:
            which, (sample, key) = drawn
            batch = jax.lax.switch(which, gathers, sample)
            loss, _, aux = task.loss(params, position.model_state, key, batch)
            return {"loss": loss} | {name: aux[name] for name in ("accuracy",) if name in aux}

        which = jnp.repeat(jnp.arange(len(SPLITS)), self.batches)
        found = jax.lax.map(one, (which, jax.tree.map(lambda *parts: jnp.concatenate(parts), *drawn)))
        return {
            f"{split}_{name}": jnp.mean(values[i * self.batches : (i + 1) * self.batches])
            for name, values in found.items()
            for i, split in enumerate(SPLITS)
        }


def _keys(key: Array) -> tuple[Array, Array, Array]:
    """Keys of the training, of its final loss, and of the evaluations along the way."""
    key_train, key_end = jax.random.split(key)
    return key_train, key_end, jax.random.fold_in(key, 2)


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
            stopped: asked after every such call; true to stop.

        Raises:
            StopRequestedError: ``stopped`` returned true.
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
        hyperparameters = {
            name: np.asarray([row[name] for row in rows], np.float32) for name in sorted(rows[0])
        }
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self._key, jnp.asarray(numbers, jnp.uint32))
        return *self._shared, *jax.device_put((hyperparameters, keys), self.device)


def _mapped(function: Callable[..., Any], axes: str, size: int) -> Callable[..., Any]:
    """`jax.vmap` over the arguments marked "x" in ``axes``; without `jax.vmap` for a size of 1."""
    if size > 1:
        return jax.vmap(function, tuple(0 if axis == "x" else None for axis in axes), axis_size=size)

    def of_one(*args: Any) -> Any:
        bare = [
            jax.tree.map(lambda x: x[0], arg) if axis == "x" else arg
            for arg, axis in zip(args, axes, strict=True)
        ]
        return jax.tree.map(lambda x: x[None], function(*bare))

    return of_one
