"""The learner of a cluster: it holds theta and the outer optimizer, and makes gradients of workers' answers.

It draws each perturbation again from the seed of the answer, so what workers send does not grow with theta.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.learned.base import LearnedOptimizer
from celo.meta.compile import jit
from celo.meta.estimators import EstimatorState, Report, Summary, partition
from celo.meta.estimators.antithetic import problem_keys
from celo.meta.estimators.summary import metrics_row
from celo.meta.outer import outer_optimizer
from celo.meta.program import MetaState, group_tasks, no_average, outer_step
from celo.meta.stage import Stage
from celo.meta.worker import Answer, Seed, Share

PyTree = Any


class Pool(Protocol):
    """The workers, as the learner sees them.

    Attributes:
        restarts: workers that died and were started again.
    """

    restarts: int

    def publish(self, theta: np.ndarray) -> Any:
        """Make a raveled theta available to all workers, and return what stands for it in `ask`."""

    def ask(self, worker: int, theta: Any, seed: Seed) -> None:
        """Ask a worker, by its index, for an answer."""

    def answers(self) -> list[tuple[int, Answer]]:
        """The answers that came since the last call, with their workers; waits for one at least."""
        ...


class Sums(NamedTuple):
    """Sums over problems, per task family.

    Attributes:
        vectors: (families, size) sum of the problems' gradients.
        squares: (families,) sum of their squared norms.
        counts: (families,) number of problems.
    """

    vectors: Array
    squares: Array
    counts: Array


class Work(NamedTuple):
    """What was measured in the meta-iterations of one call.

    Attributes:
        gradient_norm: one per meta-iteration.
        gradient_snr: one per meta-iteration, see `celo.meta.estimators.summary.gradient_snr`.
        used: the answers that gradients were made of, each with its worker and its age in meta-iterations.
        dropped: number of answers that were too old.
        sent: bytes of theta, which every machine takes once per meta-iteration.
        received: bytes of answers, those dropped too.
        restarts: workers that died and were started again.
    """

    gradient_norm: list[float]
    gradient_snr: list[float]
    used: list[tuple[int, Answer, int]]
    dropped: int = 0
    sent: int = 0
    received: int = 0
    restarts: int = 0


def without_stale(
    answers: Sequence[tuple[int, Answer]], version: int, staleness: int
) -> list[tuple[int, Answer]]:
    """The answers whose theta is at most ``staleness`` meta-iterations older than ``version``."""
    return [(worker, answer) for worker, answer in answers if version - answer.seed.version <= staleness]


class Learner:
    """A stage whose inner problems are unrolled by workers; it has the methods of `StageProgram`.

    A meta-iteration takes as many answers as there are workers, or more if several come at once. Its
    gradient is the mean over task families of their mean over problems, each of norm 1 if the stage
    normalizes.

    Args:
        stage: the stage.
        learned: the learned optimizer, in the configuration of the stage.
        tasks: its task families.
        key: of the stage.
        shares: the problems of each worker.
        pool: the workers.
        synchronous: whether a meta-iteration asks every worker once and waits for all. Otherwise each worker
            is asked again as soon as it answers, and a gradient is made of the answers that come first.
        staleness: meta-iterations after which an answer is dropped.
    """

    def __init__(
        self,
        stage: Stage,
        learned: LearnedOptimizer,
        tasks: Sequence[Any],
        key: Array,
        shares: Sequence[Share],
        pool: Pool,
        synchronous: bool = True,
        staleness: int = 10,
    ):
        self.names = tuple(tasks[i].name for group in group_tasks(tasks) for i in group)
        self.learned, self._stage, self._key = learned, stage, key
        self._shares, self._pool = tuple(shares), pool
        self._synchronous, self._staleness = synchronous, staleness
        self._estimator = stage.gradient_estimator(learned, None)
        self._outer = outer_optimizer(stage, learned)
        self._asked: dict[int, Seed] = {}  # the last seed of each worker
        self._idle = set(range(len(self._shares)))
        self._add = jit(self._added, donate_argnums=0)
        self._step = jit(self._stepped)

    def prepare(self) -> None:
        """Does nothing: workers compile when they are first asked."""

    def begin(self, theta: PyTree) -> MetaState:
        """The state before the first meta-iteration, from meta-parameters to start from."""
        theta = jax.tree.map(jnp.array, theta)
        parts = self._split(theta)
        outer = self._outer.init(ravel_pytree(parts.trained)[0])
        average = no_average(self._stage, parts, jnp.zeros)
        return MetaState(theta, outer, EstimatorState(()), jnp.zeros((), jnp.int32), average)

    def run(self, state: MetaState, iterations: int) -> tuple[MetaState, Work]:
        """Runs meta-iterations; returns the state after them, and what was measured."""
        work, before = Work([], [], []), self._pool.restarts
        for _ in range(iterations):
            version = int(state.iteration)
            answers, work = self._collect(version, state.theta, work)
            sums = self._zero(self._split(state.theta))
            for worker, answer in answers:
                share = self._shares[worker]
                key = answer.seed.key(self._key)
                sums = self._add(sums, share.families, share.numbers, answer.weights, key)
            state, norm, snr = self._step(state, sums)
            work.gradient_norm.append(float(norm))
            work.gradient_snr.append(float(snr))
            work.used.extend((worker, answer, version - answer.seed.version) for worker, answer in answers)
        return state, work._replace(restarts=self._pool.restarts - before)

    def metrics(self, work: Work) -> dict[str, Any]:
        """The row of metrics of one call; task families without an answer in it are absent."""
        summaries: dict[int, list[Summary]] = {}
        for worker, answer, _ in work.used:
            for row, family in enumerate(self._shares[worker].families):
                summaries.setdefault(int(family), []).append(
                    jax.tree.map(lambda x, i=row: x[i], answer.summary)
                )
        found = sorted(summaries)
        groups = tuple(jax.tree.map(lambda *x: np.stack(x)[:, None], *summaries[family]) for family in found)
        # Each answer counts by its number of families, as in a mean over families.
        sizes = [len(answer.weights) for _, answer, _ in work.used]
        difference: Any = np.average([answer.difference_snr for _, answer, _ in work.used], weights=sizes)
        snr: Any = np.asarray(work.gradient_snr)
        report = Report(groups, snr, difference)
        return {
            "gradient_norm": float(np.mean(work.gradient_norm)),
            **metrics_row(report, [self.names[family] for family in found]),
            "cluster/workers": len(self._shares),
            "cluster/staleness": np.asarray([age for _, _, age in work.used]),
            "cluster/dropped": work.dropped,
            "cluster/restarts": work.restarts,
            "cluster/bytes_theta": work.sent / len(work.gradient_norm),
            "cluster/bytes_received": work.received / len(work.gradient_norm),
        }

    def _collect(self, version: int, theta: PyTree, work: Work) -> tuple[list[tuple[int, Answer]], Work]:
        """The answers of one meta-iteration, in the order of the workers if synchronous."""
        flat = np.asarray(ravel_pytree(theta)[0])
        published, work = self._pool.publish(flat), work._replace(sent=work.sent + flat.nbytes)
        kept: list[tuple[int, Answer]] = []
        while len(kept) < len(self._shares):
            for worker in sorted(self._idle):
                self._ask(worker, published, version)
            found = self._pool.answers()
            fresh = without_stale(found, version, self._staleness)
            received = sum(len(pickle.dumps(answer, protocol=5)) for _, answer in found)
            dropped = work.dropped + len(found) - len(fresh)
            work = work._replace(dropped=dropped, received=work.received + received)
            self._idle.update(worker for worker, _ in found)
            kept += fresh
        return sorted(kept, key=lambda one: one[0]), work

    def _ask(self, worker: int, theta: Any, version: int) -> None:
        last = self._asked.get(worker)
        again = last is not None and last.version == version
        if again and self._synchronous:
            return
        seed = Seed(version, last.repeat + 1 if last is not None and again else 0)
        self._pool.ask(worker, theta, seed)
        self._asked[worker] = seed
        self._idle.discard(worker)

    def _split(self, theta: PyTree) -> partition.Parts:
        return partition.split(theta, self._stage.trainable(self.learned, theta))

    def _zero(self, parts: partition.Parts) -> Sums:
        count, size = len(self.names), sum(leaf.size for leaf in jax.tree.leaves(parts.trained))
        return Sums(*(jnp.zeros(shape, jnp.float32) for shape in ((count, size), (count,), (count,))))

    def _added(self, sums: Sums, families: Array, numbers: Array, weights: Array, key: Array) -> Sums:
        """The sums with the problems of an answer, one of each family after the other."""
        size = sums.vectors.shape[1]

        def add(found: tuple[Array, Array], problem: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            keys, weights = problem
            vectors = weights[:, None] * jax.vmap(lambda k: self._estimator.perturbation(k, size))(keys)
            return (found[0] + vectors, found[1] + jnp.sum(jnp.square(vectors), axis=1)), None

        zero = (jnp.zeros((len(families), size), jnp.float32), jnp.zeros((len(families),), jnp.float32))
        keys = problem_keys(key, numbers)
        (vectors, squares), _ = jax.lax.scan(add, zero, (keys.T, weights.T))
        counts = sums.counts.at[families].add(float(numbers.shape[1]))
        return Sums(sums.vectors.at[families].add(vectors), sums.squares.at[families].add(squares), counts)

    def _stepped(self, state: MetaState, sums: Sums) -> tuple[MetaState, Array, Array]:
        """The state after a step with the gradient of the sums, its norm, and its signal-to-noise ratio."""
        counts = jnp.maximum(sums.counts, 1.0)
        means, scale = sums.vectors / counts[:, None], jnp.ones_like(counts)
        if self._stage.normalize:
            norms = jnp.linalg.norm(means, axis=1)
            scale = jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1.0), 0.0)
        present = jnp.sum((sums.counts > 0).astype(jnp.float32))
        scaled = jnp.where(scale[:, None] > 0, scale[:, None] * means, 0.0)
        gradient = jnp.sum(scaled, axis=0) / present
        gradient = jnp.where(jnp.isnan(gradient), 0.0, gradient)
        count, signal = jnp.sum(sums.counts), jnp.sum(jnp.square(gradient))
        squares = jnp.sum(jnp.where(scale > 0, jnp.square(scale) * sums.squares, 0.0))
        snr = (count - 1.0) * count * signal / jnp.maximum(squares - count * signal, 0.0)
        after = outer_step(self._stage, self._outer, state, self._split(state.theta), gradient)
        return after, jnp.linalg.norm(gradient), snr
