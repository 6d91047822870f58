"""Train for longer than planned.

Celo sets its step sizes by the progress ``t / num_steps``, so it has to know the number of steps beforehand.
If the training continues after them, `celo.wrappers` has four ways to continue; each changes the optimizer's
state, at any depth of optax's transformations.
"""

import jax
import jax.numpy as jnp
import optax

import celo
from celo import wrappers


def main(num_steps: int = 500) -> float:
    """Train for ``num_steps`` steps, then as many again in each way; return the best final loss."""
    x = jax.random.normal(jax.random.key(0), (512, 16))
    y = jnp.tanh(x @ jax.random.normal(jax.random.key(1), (16, 4)))

    def loss(params):
        return jnp.mean((jnp.tanh(jnp.tanh(x @ params["first"]) @ params["second"]) - y) ** 2)

    @jax.jit
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    def train(params, state):
        (params, state), losses = jax.lax.scan(step, (params, state), length=num_steps)
        return params, state, losses[-1]

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), celo.celo(num_steps))
    params = {
        "first": 0.3 * jax.random.normal(jax.random.key(2), (16, 32)),
        "second": 0.2 * jax.random.normal(jax.random.key(3), (32, 4)),
    }
    params, state, value = train(params, optimizer.init(params))
    print(f"after {num_steps} steps as planned   {value:.5f}")

    ways = {
        "naive: change nothing": wrappers.naive(state),
        "full_reset: start over from these parameters": wrappers.full_reset(state, optimizer, params),
        "reset_steps: count from 0, keep the averages": wrappers.reset_steps(state),
        "increase_steps: move the horizon": wrappers.increase_steps(state, 2 * num_steps),
    }
    losses = {name: float(train(params, state)[2]) for name, state in ways.items()}
    for name, value in losses.items():
        print(f"{num_steps} steps more, {name:45s} {value:.5f}")
    return min(losses.values())


if __name__ == "__main__":
    main()
