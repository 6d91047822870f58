"""The loops over single trainings that `celo benchmark evaluate` times the runner against.

All do the trainings of the runner, up to rounding, and as many evaluations, one training at a time, on one
device that is made of all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from celo.baselines import eval_params, hand_designed
from celo.evaluation.plan import SPLITS, EvaluatedTraining
from celo.meta.compile import jit
from celo.meta.full_training import FINAL_BATCHES, begin, evaluate, take_step
from celo.meta.tasks.base import Task

Train = Callable[[Any, Any], float]  # learning rate and key -> final loss
Loop = Callable[[Task, EvaluatedTraining], Train]


def scanned(task: Task, plan: EvaluatedTraining) -> Train:
    """A training is one compiled call, for any learning rate and key."""

    @jit
    def program(task: Task, rate: Any, key: Any) -> Any:
        optimizer = hand_designed("adam", rate)
        start = plan.begin(task, optimizer, key)
        progress = plan.advance(task, optimizer, key, start, 0, plan.evaluations)
        return plan.final_loss(task, key, progress), progress.loss, progress.evaluations

    return lambda rate, key: float(jax.device_get(program(task, np.float32(rate), key))[0])


def stepwise(task: Task, plan: EvaluatedTraining) -> Train:
    """Python calls a compiled function for every step and every evaluation, for any learning rate and key."""

    @jit
    def first(task: Task, rate: Any, key: Any) -> Any:
        return begin(task, hand_designed("adam", rate), key)

    @jit
    def step(task: Task, rate: Any, position: Any, key_batch: Any, key_loss: Any) -> Any:
        return take_step(
            task, hand_designed("adam", rate), position, task.sample(key_batch, "train"), key_loss
        )

    judges = [_judge(split, plan.batches) for split in SPLITS]
    judge_end = _judge("train", FINAL_BATCHES)

    def train(rate: Any, key: Any) -> float:
        rate, steps = np.float32(rate), plan.num_steps
        key_train, key_end = jax.random.split(key)
        key_init, *stems = jax.random.split(key_train, 3)
        keys = [jax.random.split(stem, steps) for stem in stems]
        position, losses, evaluations = first(task, rate, key_init), [], []
        for t in range(steps + 1):
            if t % plan.every == 0 or t == steps:
                evaluations += [judge(task, position, key) for judge in judges]
            if t < steps:
                position, (loss, _) = step(task, rate, position, *(of_steps[t] for of_steps in keys))
                losses.append(loss)
        final = judge_end(task, position, key_end)[0]
        return float(jax.device_get((final, losses, evaluations))[0])

    return train


def _judge(split: str, batches: int) -> Any:
    """Compiled mean loss over some batches of a split."""

    @jit
    def judge(task: Task, position: Any, key: Any) -> Any:
        params = eval_params(position.opt_state, position.params)
        return evaluate(task, params, position.model_state, key, split, batches)

    return judge


LOOPS: dict[str, Loop] = {
    "scan": scanned,
    "stepwise": stepwise,
    # Everything is compiled anew for every training, as a plain script does.
    "recompiled": lambda task, plan: lambda rate, key: stepwise(task, plan)(rate, key),
}


def seconds_of(
    loop: Loop, task: Task, plan: EvaluatedTraining, pairs: Sequence[tuple[Any, Any]]
) -> dict[str, float]:
    """Seconds of the first training, with whatever it compiles, and the mean of the others, at least one."""
    train, seconds, final = loop(task, plan), [], []
    for rate, key in pairs:
        start = time.perf_counter()
        final.append(train(rate, key))
        seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "each": float(np.mean(seconds[1:])), "final_loss_of_first": final[0]}
