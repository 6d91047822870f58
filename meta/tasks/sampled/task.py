"""Another task with an activation and an initialiser of its own, which are leaves of the pytree."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from celo.meta.tasks.base import Batch, Loss, ModelState, Params, Task, pytree, static
from celo.meta.tasks.image_classifier import ImageClassifier
from celo.meta.tasks.sampled import graph
from celo.meta.tasks.sampled.graph import Dynamic
from celo.meta.tasks.wrapped import Wrapped, inner_label


@pytree
class SampledTask(Wrapped):
    """Another task whose activation, initialiser and initial scale are chosen inside the graph.

    So tasks that differ in these alone share a compiled program and stack, see `celo.meta.tasks.stack_tasks`.

    The normaliser of classifiers and language models is the published one of VeLO's sampled tasks,
    ``10 (min(max(L, 0), ln 2C) - ln(C / 5)) / ln C``, and that of ``L = ln 2C`` where L is not finite: about
    7 for a uniform guess, negative below a loss of ``ln(C / 5)``.

    Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C.

    Attributes:
        task: the other task.
        dynamic: scalars by name: "activation", "initializer" and "init_scale" of
            `celo.meta.tasks.sampled.graph`, each optional, and others that the task does not read here.
        layers: beginnings of the names of the layers that the initialiser draws.
        classes: number C of classes or tokens; 0 keeps the normaliser of the task.

    Example:
        >>> from celo.meta.tasks import make
        >>> inner = make("ImageMLP_Digits8_Relu16_bs64")
        >>> tanh = SampledTask(inner, {"activation": jnp.int32(4)}, classes=10)
        >>> round(float(tanh.normalizer(jnp.float32(math.log(10)))), 2)
        6.99
    """

    dynamic: Dynamic
    layers: tuple[str, ...] = static(default=("",))
    classes: int = static(default=0)

    @classmethod
    def of(cls, task: Task, dynamic: Dynamic, name: str, **config: Any) -> "SampledTask":
        """Wrap a task."""
        return cls(task, dynamic, label=inner_label(task, name), **config)

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the parameters of the other task, with kernels by the initialiser."""
        key_task, key_kernels = jax.random.split(key)
        params, model_state = self.task.init(key_task)
        return graph.initialize(key_kernels, params, self.dynamic, self.layers), model_state

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Compute the loss of the other task with the activation."""
        return self._activated().loss(params, model_state, key, batch)

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Map a loss to the range of the meta-objective."""
        return guess_relative(loss, self.classes) if self.classes else self.task.normalizer(loss)

    def _activated(self) -> Any:
        """The other task with the activation as a function."""
        if "activation" not in self.dynamic:
            return self.task
        function = graph.activation(self.dynamic["activation"])
        if isinstance(self.task, ImageClassifier):
            return dataclasses.replace(self.task, network=self.task.network.clone(activation=function))
        return dataclasses.replace(self.task, activation=function)


def guess_relative(loss: jax.Array, classes: int) -> jax.Array:
    """Return ``10 (clip(L, 0, ln 2C) - ln(C / 5)) / ln C``; a loss that is not finite counts as ln 2C."""
    highest = math.log(2 * classes)
    finite = jnp.where(jnp.isfinite(loss), loss, highest)
    return (jnp.clip(finite, 0.0, highest) - math.log(classes / 5)) * (10 / math.log(classes))
