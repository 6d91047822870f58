"""flax.linen: a `TrainState` that forwards the loss to the optimizer.

`TrainState.apply_gradients` passes its keyword arguments to `replace`, not to the optimizer. The subclass
below passes ``value`` to the optimizer; everything else of `TrainState` stays.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

import celo


class TrainState(train_state.TrainState):
    """A `TrainState` whose optimizer receives the loss."""

    def apply_gradients(self, *, grads, value, **kwargs):
        """Update parameters and optimizer state with ``grads`` and the scalar loss ``value``."""
        optimizer = optax.with_extra_args_support(self.tx)  # so that Adam ignores `value`
        updates, opt_state = optimizer.update(grads, self.opt_state, self.params, value=value)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state, **kwargs)


class Perceptron(nn.Module):
    """Two hidden layers; biases start at small values, since Celo moves a zero tensor slowly."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 8) to (batch,)."""
        bias_init = nn.initializers.normal(0.02)
        for width in (32, 32):
            x = nn.relu(nn.Dense(width, bias_init=bias_init)(x))
        return nn.Dense(1, bias_init=bias_init)(x)[:, 0]


@jax.jit
def train_step(state: TrainState, x: jax.Array, y: jax.Array) -> tuple[TrainState, jax.Array]:
    """One step of least squares."""

    def loss(params):
        return jnp.mean((state.apply_fn({"params": params}, x) - y) ** 2)

    value, grads = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=grads, value=value), value


def main(num_steps: int = 1000) -> float:
    """Train for ``num_steps`` steps and return the final loss."""
    x = jax.random.normal(jax.random.key(0), (512, 8))
    y = jnp.sin(x[:, 0]) * x[:, 1] + 0.5 * x[:, 2]
    model = Perceptron()
    state = TrainState.create(
        apply_fn=model.apply,
        params=model.init(jax.random.key(1), x)["params"],
        tx=optax.chain(optax.clip_by_global_norm(1.0), celo.celo(num_steps)),
    )
    value = jnp.inf
    for i in range(num_steps):
        state, value = train_step(state, x, y)
        if i % 100 == 0:
            print(f"step {i:4d}  loss {value:.4f}")
    print(f"final loss {value:.4f}")
    return float(value)


if __name__ == "__main__":
    main()
