"""Equinox: train the inexact arrays of a module; needs ``pip install equinox``."""

import equinox as eqx
import jax
import jax.numpy as jnp

import celo


@eqx.filter_value_and_grad
def loss(model: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean squared error."""
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


def main(num_steps: int = 1000) -> float:
    """Train for ``num_steps`` steps and return the final loss."""
    x = jax.random.normal(jax.random.key(0), (512, 8))
    y = jnp.sin(x[:, 0]) * x[:, 1] + 0.5 * x[:, 2]
    model = eqx.nn.MLP(8, "scalar", width_size=32, depth=2, key=jax.random.key(1))  # no bias starts at zero
    optimizer = celo.celo(num_steps)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        value, grads = loss(model, x, y)
        params = eqx.filter(model, eqx.is_inexact_array)
        updates, state = optimizer.update(grads, state, params, value=value)
        return eqx.apply_updates(model, updates), state, value

    value = jnp.inf
    for i in range(num_steps):
        model, state, value = step(model, state)
        if i % 100 == 0:
            print(f"step {i:4d}  loss {value:.4f}")
    print(f"final loss {value:.4f}")
    return float(value)


if __name__ == "__main__":
    main()
