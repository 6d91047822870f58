"""A task and an optimizer of your own in one file, evaluated without a change to the package.

In the folder of this file:

    celo evaluate --tasks own_task:task --optimizers adam celo own_task:signed_momentum --out results
    celo report results

A task needs `init`, `batch` and `loss`. An optimizer needs a function that returns an optax optimizer: if its
argument is called ``learning_rate``, it is tried at every rate of the grid and tuned as Adam is.
"""

import jax
import jax.numpy as jnp
import optax

from celo.meta.tasks import Task, pytree, static


@pytree
class Ripple(Task):
    """Fit a sine wave with one hidden layer."""

    width: int = static(default=16)
    loss_unit = "mean squared error"

    def init(self, key):
        """Draw the parameters; the task has no model state."""
        first, bias, last = jax.random.normal(key, (3, self.width))
        return {"first": first, "bias": bias, "last": last / self.width**0.5}, ()

    def batch(self, key, split):
        """Draw 64 points; all splits have the same distribution."""
        x = jax.random.uniform(key, (64, 1), minval=-3.0, maxval=3.0)
        return {"x": x, "y": jnp.sin(2.0 * x[:, 0])}

    def loss(self, params, model_state, key, batch):
        """Return the mean squared error, the model state and no further measures."""
        hidden = jnp.tanh(batch["x"] * params["first"] + params["bias"])
        return jnp.mean((hidden @ params["last"] - batch["y"]) ** 2), model_state, {}


task = Ripple()


def signed_momentum(learning_rate) -> optax.GradientTransformation:
    """Steps of equal size along the sign of the momentum."""
    return optax.chain(optax.trace(0.9), optax.scale_by_sign(), optax.scale_by_learning_rate(learning_rate))
