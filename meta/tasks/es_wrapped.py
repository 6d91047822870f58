"""Tasks whose gradients are estimated by evolution strategies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from celo.meta.tasks.base import Batch, Loss, ModelState, Params, Task, pytree, static
from celo.meta.tasks.entry import CompositeEntry, Entry
from celo.meta.tasks.image_mlp import IMAGE_MLP_TASKS
from celo.meta.tasks.layers import check_positive
from celo.meta.tasks.wrapped import Wrapped, inner_label


@jax.custom_jvp
def with_gradient(loss: jax.Array, params: Any, gradient: Any) -> jax.Array:
    """Return the scalar loss, differentiable with respect to `params` alone, with this gradient.

    Example:
        >>> value, slope = jax.value_and_grad(lambda x: with_gradient(x**3, x, jnp.float32(7.0)))(2.0)
        >>> float(value), float(slope)
        (8.0, 7.0)
    """
    del params, gradient
    return loss


@with_gradient.defjvp
def _with_gradient_jvp(
    primals: tuple[jax.Array, Any, Any], tangents: tuple[jax.Array, Any, Any]
) -> tuple[jax.Array, jax.Array]:
    loss, _, gradient = primals
    products = jax.tree.map(jnp.vdot, gradient, tangents[1])
    return loss, sum(jax.tree.leaves(products), start=jnp.zeros((), np.float32))


@pytree
class ESWrapped(Wrapped):
    """Another task, its gradient replaced by the antithetic estimate of evolution strategies.

    `g = 1/n sum_i e_i (L(p + e_i) - L(p - e_i)) / (2 sigma²)`, `e_i ~ N(0, sigma²)`. All evaluations have the
    batch and the key of the loss; the loss itself is that of the unperturbed parameters.

    Source: Salimans et al. 2017 (arXiv 1703.03864); the `ESWrapped_*` and `LOpt_ES4_*` tasks of
    learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        task: the task.
        pairs: number n of antithetic pairs.
        sigma: standard deviation of the perturbations.

    Example:
        >>> from celo.meta.tasks import Quadratic
        >>> ESWrapped.of(Quadratic.of([1.0, 2.0]), pairs=8).name
        'ESWrapped_8pair_Quadratic2'
    """

    pairs: int = static(default=1)
    sigma: float = static(default=0.01)

    def __post_init__(self):
        check_positive("pairs", self.pairs)
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be a positive finite number, got {self.sigma!r}")

    @classmethod
    def of(cls, task: Task, pairs: int = 1, sigma: float = 0.01, name: str | None = None) -> "ESWrapped":
        """Wrap a task."""
        return cls(task, pairs, sigma, label=inner_label(task, name or f"ESWrapped_{pairs}pair_{task.name}"))

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Compute the loss of the wrapped task; its gradient is the estimate. The aux is that of the task."""
        key_loss, key_noise = jax.random.split(key)
        held = jax.lax.stop_gradient(params)
        flat, unravel = ravel_pytree(held)

        def evaluate(flat: jax.Array) -> jax.Array:
            return self.task.loss(unravel(flat), model_state, key_loss, batch)[0]

        def estimate(key: jax.Array) -> jax.Array:
            e = self.sigma * jax.random.normal(key, flat.shape, flat.dtype)
            return e * (evaluate(flat + e) - evaluate(flat - e)) / (2.0 * self.sigma**2)

        estimates = jax.vmap(estimate)(jax.random.split(key_noise, self.pairs))
        loss, model_state, aux = self.task.loss(held, model_state, key_loss, batch)
        return with_gradient(loss, params, unravel(jnp.mean(estimates, axis=0))), model_state, aux


_WRAPPED = (
    ("ImageMLP_Cifar10_128x128x128_Relu", 1),
    ("ImageMLP_Cifar10_128x128x128_Relu", 8),
    ("ImageMLP_Mnist_128x128x128_Relu", 1),
    ("ImageMLP_Mnist_128x128x128_Relu", 8),
    ("ImageMLP_FashionMnist8_Relu32", 1),
    ("ImageMLP_Cifar10BW8_Relu32", 1),
)

ES_WRAPPED_TASKS: dict[str, Entry] = {
    f"ESWrapped_{pairs}pair_{name}": CompositeEntry.on(
        "es_wrapped", name, IMAGE_MLP_TASKS[name], ESWrapped.of, pairs=pairs
    )
    for name, pairs in _WRAPPED
}
