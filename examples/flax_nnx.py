"""flax.nnx: `nnx.Optimizer.update` forwards keyword arguments, so the loss goes in as ``value=``."""

import jax
import jax.numpy as jnp
from flax import nnx

import celo


class Perceptron(nnx.Module):
    """Two hidden layers; biases start at small values, since Celo moves a zero tensor slowly."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        bias_init = nnx.initializers.normal(0.02)
        self.first = nnx.Linear(8, 32, bias_init=bias_init, rngs=rngs)
        self.second = nnx.Linear(32, 32, bias_init=bias_init, rngs=rngs)
        self.out = nnx.Linear(32, 1, bias_init=bias_init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 8) to (batch,)."""
        return self.out(nnx.relu(self.second(nnx.relu(self.first(x)))))[:, 0]


@nnx.jit
def train_step(model: Perceptron, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    """One step of least squares, in place."""
    value, grads = nnx.value_and_grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
    optimizer.update(model, grads, value=value)
    return value


def main(num_steps: int = 1000) -> float:
    """Train for ``num_steps`` steps and return the final loss."""
    x = jax.random.normal(jax.random.key(0), (512, 8))
    y = jnp.sin(x[:, 0]) * x[:, 1] + 0.5 * x[:, 2]
    model = Perceptron(nnx.Rngs(1))
    optimizer = nnx.Optimizer(model, celo.celo(num_steps), wrt=nnx.Param)
    value = jnp.inf
    for i in range(num_steps):
        value = train_step(model, optimizer, x, y)
        if i % 100 == 0:
            print(f"step {i:4d}  loss {value:.4f}")
    print(f"final loss {value:.4f}")
    return float(value)


if __name__ == "__main__":
    main()
