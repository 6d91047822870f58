"""One stage of meta-training as two compiled programs: its initial state, and several meta-iterations."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.learned.base import LearnedOptimizer
from celo.meta.compile import jit, jit_once
from celo.meta.estimators import EstimatorState, Report, Summary, partition, sharding
from celo.meta.estimators.antithetic import families
from celo.meta.estimators.summary import meta_loss, metrics_row
from celo.meta.outer import outer_optimizer
from celo.meta.stage import Stage
from celo.meta.tasks import stack_tasks

PyTree = Any


class MetaState(NamedTuple):
    """State of a stage: arrays only.

    Attributes:
        theta: meta-parameters, trained and frozen.
        outer: state of the outer optimizer, for the raveled trained part.
        estimator: state of the gradient estimator, sharded over problems.
        iteration: () int32, meta-iterations of the stage done.
        average: (size,) mean of the raveled trained part over the meta-iterations averaged so far; None if
            the stage does not average.
    """

    theta: PyTree
    outer: PyTree
    estimator: EstimatorState
    iteration: Array
    average: Array | None = None


class Measures(NamedTuple):
    """Measurements of the meta-iterations of one call; leading axis meta-iterations.

    Attributes:
        gradient_norm: (iterations,) norm of the meta-gradient.
        report: record of the estimate, fields (iterations, ...).
    """

    gradient_norm: Array
    report: Report


def group_tasks(tasks: Sequence[Any]) -> list[list[int]]:
    """Indices of the tasks that can be stacked and trained in one batch, in order of first appearance.

    Tasks form a group if their configuration, parameters and batches have the same structure and shapes.
    A task without arrays is a group by itself: a stack of such tasks has no axis to count them.
    """
    groups: dict[Any, list[int]] = {}
    key = jax.eval_shape(lambda: jax.random.key(0))
    for number, task in enumerate(tasks):
        shapes = jax.eval_shape(lambda t, k: (t.init(k), t.batch(k, "train")), task, key)
        leaves, structure = jax.tree.flatten(shapes)
        alone = None if jax.tree.leaves(task) else number
        kind = (alone, jax.tree.structure(task), structure, tuple((x.shape, x.dtype) for x in leaves))
        groups.setdefault(kind, []).append(number)
    return list(groups.values())


class StageProgram:
    """A stage, ready to run on the devices of this process, or of all processes.

    ``outer_digest`` is that of the checkpoint ``stage.outer``, see `celo.meta.outer.outer_optimizer`.
    Meta-iteration i uses ``fold_in(key, i)``, so the state holds no key. A call does at most
    ``most_iterations`` of them.

    Attributes:
        learned: the learned optimizer, in the configuration of the stage.
        names: names of the task families, in the order of the groups.
        mesh: the devices used.
    """

    def __init__(
        self,
        stage: Stage,
        learned: LearnedOptimizer,
        tasks: Sequence[Any],
        key: Array,
        most_iterations: int,
        outer_digest: str | None = None,
    ):
        self.mesh = sharding.problem_mesh(stage.problems)
        groups = group_tasks(tasks)
        self.names = tuple(tasks[i].name for group in groups for i in group)
        stacked = tuple(stack_tasks([tasks[i] for i in group]) for group in groups)
        # Typed keys cannot be put on devices of other processes; their key data can.
        self._tasks, data = sharding.replicate((stacked, jax.random.key_data(key)), self.mesh)
        self._key = jax.random.wrap_key_data(data)
        self.learned, self._stage, self._most = learned, stage, most_iterations
        self._estimator = stage.gradient_estimator(learned, sharding.AXIS)
        self._outer = outer_optimizer(stage, learned, outer_digest)
        # Not one of the keys of the meta-iterations, which count from 0.
        self._first_key = jax.random.fold_in(self._key, stage.iterations)
        self._begin: Future[Any] | None = None
        self._run: Future[Any] | None = None

    def prepare(self) -> None:
        """Starts to compile `begin` and `run` in threads; XLA releases the lock of Python.

        `begin` calls it. Call it earlier to do something else meanwhile.
        """
        if self._begin is not None:
            return
        theta = jax.eval_shape(self.learned.init, jax.random.key(0))
        theta = sharding.shapes(theta, sharding.REPLICATED, self.mesh)
        parts = self._split(theta)
        function = self._shard(self._estimator.init, (sharding.REPLICATED,) * 3, sharding.BY_PROBLEM)
        begin = jit_once(function).lower(parts, self._tasks, self._first_key)
        outer = jax.eval_shape(lambda tree: self._outer.init(ravel_pytree(tree)[0]), parts.trained)
        number = jax.ShapeDtypeStruct((), jnp.int32)
        outer, number = sharding.shapes((outer, number), sharding.REPLICATED, self.mesh)
        estimator = sharding.shapes(begin.out_info, sharding.BY_PROBLEM, self.mesh)
        state = MetaState(
            theta, outer, estimator, number, no_average(self._stage, parts, jax.ShapeDtypeStruct)
        )
        state = state._replace(average=sharding.shapes(state.average, sharding.REPLICATED, self.mesh))
        pool = ThreadPoolExecutor(2)
        self._begin = pool.submit(begin.compile)
        self._run = pool.submit(lambda: self._lower_run(state, number).compile())
        pool.shutdown(wait=False)

    def begin(self, theta: PyTree) -> MetaState:
        """The state before the first meta-iteration, from meta-parameters to start from."""
        self.prepare()
        parts = self._split(theta)
        # `run` donates its state, and placing an array where it already is makes no copy.
        theta = jax.tree.map(jnp.array, theta)
        theta, parts = sharding.replicate((theta, parts), self.mesh)
        outer = self._outer.init(ravel_pytree(parts.trained)[0])
        outer, iteration = sharding.replicate((outer, jnp.zeros((), jnp.int32)), self.mesh)
        estimator = _wait(self._begin)(parts, self._tasks, self._first_key)
        average = sharding.replicate(no_average(self._stage, parts, jnp.zeros), self.mesh)
        return MetaState(theta, outer, estimator, iteration, average)

    def run(self, state: MetaState, iterations: int) -> tuple[MetaState, Measures]:
        """Runs meta-iterations in one compiled call, which donates the state passed in.

        Any number of them, up to ``most_iterations``, runs the same program. Returns the state after and the
        measures of these meta-iterations, on the host.
        """
        if not 1 <= iterations <= self._most:
            raise ValueError(f"iterations is {iterations}; expected 1 to {self._most}")
        count = sharding.replicate(jnp.asarray(iterations, jnp.int32), self.mesh)
        self.prepare()
        state, measures = _wait(self._run)(self._tasks, self._key, state, count)
        return state, jax.tree.map(lambda x: x[:iterations], jax.device_get(measures))

    def metrics(self, measures: Measures) -> dict[str, Any]:
        """The row of metrics of one call."""
        row = metrics_row(measures.report, self.names)
        return {"gradient_norm": float(np.mean(measures.gradient_norm)), **row}

    def _split(self, theta: PyTree) -> partition.Parts:
        return partition.split(theta, self._stage.trainable(self.learned, theta))

    def _shard(self, function: Any, in_specs: Any, out_specs: Any) -> Any:
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def _lower_run(self, state: MetaState, count: Any) -> Any:
        replicated: Any = sharding.REPLICATED
        by_problem: Any = sharding.BY_PROBLEM
        specs = MetaState(replicated, replicated, by_problem, replicated, replicated)
        function = self._shard(
            self._iterate, (replicated, replicated, specs, replicated), (specs, replicated)
        )
        return jit(function, donate_argnums=(2,)).lower(self._tasks, self._key, state, count)

    def _iterate(
        self, tasks: PyTree, key: Array, state: MetaState, count: Array
    ) -> tuple[MetaState, Measures]:
        """``count`` meta-iterations; measures are written into buffers of the largest size."""
        sizes = [(self._most, families(task), self._stage.problems) for task in tasks]
        # Spelled out: tracing a meta-iteration for the shapes of its measures would take seconds.
        each = jnp.zeros((self._most,), jnp.float32)
        buffers = Measures(each, Report(tuple(Summary.zeros(size) for size in sizes), each, each))

        def body(i: Array, carry: tuple[MetaState, Measures]) -> tuple[MetaState, Measures]:
            state, measured = self._meta_iteration(tasks, key, carry[0])
            return state, jax.tree.map(lambda buffer, x: buffer.at[i].set(x), carry[1], measured)

        return jax.lax.fori_loop(0, count, body, (state, buffers))

    def _meta_iteration(self, tasks: PyTree, key: Array, state: MetaState) -> tuple[MetaState, Measures]:
        """One meta-gradient and one step of the outer optimizer on theta."""
        parts = self._split(state.theta)
        key = jax.random.fold_in(key, state.iteration)
        gradient, estimator, report = self._estimator.estimate(
            parts, tasks, state.estimator, key, state.iteration
        )
        seen = {"value": meta_loss(report)} if self._stage.outer else {}
        after = outer_step(self._stage, self._outer, state, parts, gradient, **seen)
        return after._replace(estimator=estimator), Measures(jnp.linalg.norm(gradient), report)


def no_average(stage: Stage, parts: partition.Parts, make: Any) -> Any:
    """The average of a state before the first meta-iteration, made of a shape and a type."""
    size = sum(leaf.size for leaf in jax.tree.leaves(parts.trained))
    return make((size,), jnp.float32) if stage.average else None


def outer_step(
    stage: Stage,
    outer: optax.GradientTransformationExtraArgs,
    state: MetaState,
    parts: partition.Parts,
    gradient: Array,
    **seen: Array,
) -> MetaState:
    """The state after one step of the outer optimizer on theta, whose parts are given; (size,) gradient.

    ``seen`` is what a learned outer optimizer reads: the meta-loss as ``value``.
    """
    flat, unravel = ravel_pytree(parts.trained)
    updates, outer_state = outer.update(gradient, state.outer, flat, **seen)
    flat = flat + jnp.asarray(updates)
    theta = partition.merge(unravel(flat), parts.frozen)
    average = state.average
    if average is not None:
        # The n-th of them moves the mean by 1/n of the way; before the first it is theta itself.
        number = jnp.maximum(state.iteration - stage.averaged_from() + 1, 1)
        average = average + (flat - average) / number.astype(jnp.float32)
    return MetaState(theta, outer_state, state.estimator, state.iteration + 1, average)


def result_theta(stage: Stage, learned: LearnedOptimizer, state: MetaState) -> PyTree:
    """The meta-parameters that a state stands for, on the host: theta, or its mean if the stage averages."""
    theta = jax.device_get(state.theta)
    if state.average is None or not int(state.iteration):
        return theta
    parts = partition.split(theta, stage.trainable(learned, theta))
    mean = ravel_pytree(parts.trained)[1](jnp.asarray(jax.device_get(state.average)))
    return partition.merge(jax.device_get(mean), parts.frozen)


def _wait(compiled: Future[Any] | None) -> Any:
    """The program that `StageProgram.prepare` compiles."""
    if compiled is None:
        raise RuntimeError("prepare was not called")
    return compiled.result()
