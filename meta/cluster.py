"""Meta-training on a Ray cluster: a learner in this process, workers in others.

The learner sends theta and seeds, workers send weights and losses; see `celo.meta.learner` and
`celo.meta.worker`. A worker that dies is started again and asked again with the same seed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import jax
import numpy as np
from jax import Array

from celo._core.checks import check_fields, whole
from celo.learned.base import LearnedOptimizer
from celo.meta.learner import Learner
from celo.meta.program import group_tasks
from celo.meta.recipe import Recipe
from celo.meta.stage import Stage
from celo.meta.worker import Answer, Job, Seed, UnrollWorker, shares

_PASSED_ON = ("JAX_COMPILATION_CACHE_DIR", "CELO_DATA", "CELO_CACHE", "HF_HOME", "HF_HUB_OFFLINE")
_ESTIMATOR = "full_es"
_DEATHS = 3  # of a worker without an answer in between, after which something other than chance kills it


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """The workers of a run.

    Attributes:
        cluster: none, or ray: workers on a Ray cluster unroll the inner problems.
        ray_address: address of a running cluster, "auto" for this machine's; default a new one here.
        workers: number of workers: at most the number of task families, or a multiple of it.
        cpus_per_worker: CPUs of a worker, which gets a GPU too where the cluster has any.
        synchronous: whether a meta-iteration waits for all workers, so that the run can be repeated bit for
            bit with as many workers.
        staleness: meta-iterations after which an answer is dropped, if not synchronous.

    Raises:
        TypeError: a field has another type.
        ValueError: a field is out of range.
    """

    cluster: Literal["none", "ray"] = "none"
    ray_address: str | None = None
    workers: Annotated[int, whole(1, 10**6)] = 1
    cpus_per_worker: Annotated[int, whole(1, 4096)] = 1
    synchronous: bool = True
    staleness: Annotated[int, whole(0, 10**6)] = 10

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, recipe: Recipe) -> None:
        """Check that workers can carry a recipe out; ValueError names the stage that they cannot."""
        for number, stage in enumerate(recipe.stages, 1):
            if stage.estimator != _ESTIMATOR:
                raise ValueError(
                    f"the estimator of stage {number} is {stage.estimator!r}; a cluster has no memory of "
                    f"problems between meta-iterations: choose --stage{number}.estimator {_ESTIMATOR}"
                )
            if stage.expert != "none":
                raise ValueError(
                    f"the expert of stage {number} is {stage.expert!r}; on a cluster expected 'none'"
                )
            if stage.outer:
                raise ValueError(
                    f"the outer optimizer of stage {number} is {stage.outer!r}; on a cluster expected ''"
                )
            families = range(len(recipe.families(number - 1)))
            shares([families], stage.problems, self.workers)

    @contextlib.contextmanager
    def connected(self, recipe: Recipe) -> Iterator[Cluster | None]:
        """The cluster for a recipe while the context lasts; None without one.

        Enter it before JAX computes anything.

        Raises:
            ValueError: the recipe needs another estimator, or the cluster has too few CPUs.
            ModuleNotFoundError: Ray is not installed.
            ConnectionError: there is no cluster at the address, or none starts here.
        """
        if self.cluster == "none":
            yield None
            return
        self.check(recipe)
        with ray_session(self.ray_address) as ray:
            found, wanted = ray.cluster_resources().get("CPU", 0), self.workers * self.cpus_per_worker
            if found < wanted:
                raise ValueError(
                    f"{self.workers} workers need {wanted} CPUs, and the cluster has {found:g}; choose fewer "
                    "--workers or --cpus-per-worker"
                )
            with contextlib.closing(Cluster(ray, self)) as cluster:
                yield cluster


class Cluster:
    """A cluster in use; made by `ClusterSettings.connected`."""

    def __init__(self, ray: Any, settings: ClusterSettings):
        self.settings = settings
        self._ray = ray
        self._pool: RayPool | None = None

    def config(self) -> dict[str, Any]:
        """What changes the result of a run, for its configuration."""
        if self.settings.synchronous:
            return {"cluster": {"synchronous": True}}
        return {"cluster": {"synchronous": False, "staleness": self.settings.staleness}}

    def program(
        self,
        stage: Stage,
        learned: LearnedOptimizer,
        tasks: Mapping[str, Any],
        digests: Mapping[str, str],
        data_dir: str | None,
        key: Array,
    ) -> Learner:
        """The learner of a stage, with new workers; those of the stage before end.

        ``tasks`` and the ``digests`` of their data are by name. Each worker reads its data itself.
        """
        self.close()
        groups, names = group_tasks(list(tasks.values())), list(tasks)
        order = [names[i] for group in groups for i in group]
        divided = shares(groups, stage.problems, self.settings.workers)
        key_data = np.asarray(jax.random.key_data(key))
        jobs = [
            Job(
                stage=stage,
                learned=learned,
                digests={order[i]: digests[order[i]] for i in share.families},
                data_dir=data_dir,
                share=share,
                key_data=key_data,
                folder=os.getcwd(),
            )
            for share in divided
        ]
        self._pool = RayPool(self._ray, jobs, self.settings.cpus_per_worker)
        how = (self.settings.synchronous, self.settings.staleness)
        return Learner(stage, learned, list(tasks.values()), key, divided, self._pool, *how)

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class RayPool:
    """Workers as Ray actors, one for each job; see `celo.meta.learner.Pool`."""

    def __init__(self, ray: Any, jobs: Sequence[Job], cpus: int):
        self.restarts = 0
        self._ray, self._jobs = ray, jobs
        self._make = ray.remote(**worker_options(ray, cpus))(UnrollWorker)
        self._actors = [self._make.remote(job) for job in jobs]
        self._running: dict[Any, tuple[int, Any, Seed]] = {}
        self._deaths = [0] * len(jobs)

    def publish(self, theta: np.ndarray) -> Any:
        """Put theta into the object store, from where every machine takes it once."""
        return self._ray.put(theta)

    def ask(self, worker: int, theta: Any, seed: Seed) -> None:
        """Ask an actor."""
        self._running[self._actors[worker].unroll.remote(theta, seed)] = (worker, theta, seed)

    def answers(self) -> list[tuple[int, Answer]]:
        """The answers that are there, at least one; dead workers are replaced meanwhile.

        RuntimeError if a worker fails, or dies again and again.
        """
        found: list[tuple[int, Answer]] = []
        while not found:
            self._ray.wait(list(self._running))
            waiting = list(self._running)
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
            for reference in ready:
                worker, theta, seed = self._running.pop(reference)
                try:
                    found.append((worker, self._ray.get(reference)))
                    self._deaths[worker] = 0
                except self._ray.exceptions.RayActorError as error:
                    self._replace(worker, error)
                    self.ask(worker, theta, seed)
                except self._ray.exceptions.RayError as error:
                    raise RuntimeError(f"worker {worker} failed: {_reason(error)}") from error
        return found

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._running.clear()

    def _replace(self, worker: int, error: Exception) -> None:
        self._deaths[worker] += 1
        if self._deaths[worker] >= _DEATHS:
            raise RuntimeError(
                f"worker {worker} died {_DEATHS} times without an answer: {_reason(error)}. The same command "
                "resumes from the last checkpoint"
            ) from error
        self.restarts += 1
        self._ray.kill(self._actors[worker])  # it may live on where the connection failed
        self._actors[worker] = self._make.remote(self._jobs[worker])


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster while the context lasts: a new one on this machine if address is None.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no cluster at the address, or none starts here.
    """
    try:
        import ray as imported
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a cluster needs the package ray: pip install 'celo[cluster]'", name=error.name
        ) from error
    ray: Any = imported  # its annotations are stricter than its behaviour
    # Before JAX has threads: starting a cluster forks, which threads do not survive.
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises a bare one where it does not start in time
        what = f"there is no Ray cluster at {address}" if address else "Ray did not start on this machine"
        raise ConnectionError(f"{what}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def worker_options(ray: Any, cpus: int) -> dict[str, Any]:
    """Options of a Ray task or actor: its CPUs, a GPU if the cluster has any, and its environment."""
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        "num_cpus": cpus,
        "num_gpus": 1 if ray.cluster_resources().get("GPU", 0) else 0,
        "runtime_env": {"env_vars": variables | {"NPROC": str(cpus)}},
    }


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-500:]}"
