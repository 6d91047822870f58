"""The process that measures updates for `celo benchmark update`: a request and an answer per line."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import sys
from typing import Any

import jax
import optax

from celo.evaluation import update_cost
from celo.evaluation.update_cost import Budget, Stepper
from celo.meta.tasks import parameter_shapes
from celo.scripts.devices import core_count


class Worker:
    """Answers requests; keeps Adam on the tree it saw last."""

    def __init__(self) -> None:
        self._adam: tuple[str, Stepper] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to ``{"what": "machine" | "tree" | "state" | "cost", ...}``."""
        what = request.pop("what")
        return {"machine": self.machine, "tree": self.tree, "state": self.state, "cost": self.cost}[what](
            **request
        )

    def machine(self) -> dict[str, Any]:
        """Where the figures are measured, and with which versions."""
        device = jax.devices()[0]
        versions = {name: importlib.metadata.version(name) for name in ("celo", "jax", "optax")}
        return {
            "device": device.device_kind,
            "platform": device.platform,
            "host": platform.machine(),
            "cores": core_count(),
            **versions,
        }

    def tree(self, task: str) -> dict[str, Any]:
        """Size of a task's parameters."""
        shapes = parameter_shapes(task)
        return {
            "tree": update_cost.fingerprint(shapes),
            "tensors": len(jax.tree.leaves(shapes)),
            "parameters": update_cost.count(shapes),
        }

    def state(self, task: str, optimizer: str) -> dict[str, Any]:
        """Size of an optimizer's state."""
        size = update_cost.state_bytes_per_parameter(update_cost.build(optimizer), parameter_shapes(task))
        return {"state_bytes_per_parameter": size}

    def cost(self, task: str, optimizer: str, budget: dict[str, Any]) -> dict[str, Any]:
        """Time of an optimizer's update."""
        shapes, allowed = parameter_shapes(task), Budget(**budget)
        adam = self._adam_on(shapes)
        stepper = Stepper(update_cost.build(optimizer), shapes, allowed.gibibytes)
        return update_cost.measure(stepper, adam, allowed)._asdict()

    def _adam_on(self, shapes: Any) -> Stepper:
        tree = update_cost.fingerprint(shapes)
        if self._adam is None or self._adam[0] != tree:
            self._adam = (tree, Stepper(optax.adam(update_cost.LEARNING_RATE), shapes))
        return self._adam[1]


@dataclasses.dataclass(frozen=True)
class UpdateWorker:
    """Answer requests on stdin; `update` starts it."""

    def run(self) -> None:
        """Answers until stdin ends."""
        answers, worker = sys.stdout, Worker()
        with contextlib.redirect_stdout(sys.stderr):  # nothing but answers goes where they are read
            for line in sys.stdin:
                try:
                    answer = worker.answer(json.loads(line))
                except (MemoryError, jax.errors.JaxRuntimeError) as error:
                    answer = {"error": str(error).splitlines()[0]}
                print(json.dumps(answer), file=answers, flush=True)
