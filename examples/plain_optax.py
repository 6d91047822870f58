"""Plain optax: the optimizer gets the number of steps once, and the loss at every step."""

import itertools

import jax
import jax.numpy as jnp
import optax

import celo


def data(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Points of three interleaved spirals, (900, 2), and the number of each point's spiral, (900,)."""
    arm = jnp.arange(900) % 3
    radius = jnp.linspace(0.1, 1.0, 900)
    angle = 5.0 * radius + 2.1 * arm + 0.1 * jax.random.normal(key, (900,))
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=1), arm


def init(key: jax.Array, sizes: tuple[int, ...] = (2, 64, 64, 3)) -> list[dict[str, jax.Array]]:
    """Weights and biases of a perceptron; the biases start at small values, not at zero."""
    return [
        {
            "kernel": jax.random.normal(jax.random.fold_in(key, i), (fan_in, fan_out)) / fan_in**0.5,
            "bias": 0.02 * jax.random.normal(jax.random.fold_in(key, 100 + i), (fan_out,)),
        }
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes))
    ]


def loss(params: list[dict[str, jax.Array]], x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    logits = x @ params[-1]["kernel"] + params[-1]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def main(num_steps: int = 1000) -> float:
    """Train for ``num_steps`` steps and return the final loss."""
    x, y = data(jax.random.key(0))
    params = init(jax.random.key(1))
    optimizer = celo.celo(num_steps)  # no learning rate
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    value = jnp.inf
    for i in range(num_steps):
        params, state, value = step(params, state)
        if i % 100 == 0:
            print(f"step {i:4d}  loss {value:.3f}  step size {celo.step_size(state):.4f}")
    print(f"final loss {value:.4f}")
    return float(value)


if __name__ == "__main__":
    main()
