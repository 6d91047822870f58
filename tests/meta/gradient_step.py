"""A step against the gradient of a task, for the contracts of tasks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class GradientStep(NamedTuple):
    """Initial parameters and model state, those of a batch, and the loss before and after the step."""

    params: Any
    state: Any
    new_state: Any
    grads: Any
    aux: Any
    loss: jax.Array
    lower: jax.Array


def gradient_step(task, key):
    """A step of length 1e-3; it is to be traced."""
    params, state = task.init(key)
    batch = task.batch(key, "train")

    def objective(params):
        loss, new_state, aux = task.loss(params, state, key, batch)
        return loss, (new_state, aux)

    (loss, (new_state, aux)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g / norm, params, grads)
    return GradientStep(params, state, new_state, grads, aux, loss, objective(stepped)[0])
