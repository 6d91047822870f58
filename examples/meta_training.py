"""Meta-train a small Celo from Python, and train with the result; needs ``pip install 'celo[train]'``.

The run folder can be used again: a finished run returns its result, an interrupted one resumes.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from celo.meta import Recipe, Settings, Stage, meta_train

DIGITS = "ImageMLP_Digits8_Relu32_bs64"


def main(folder: Path, iterations: int = 200, problems: int = 8) -> float:
    """Meta-train for ``iterations`` in each of two stages; return the loss of a training with the result."""
    rule = Stage(
        "rule", iterations=iterations, learning_rate=3e-3, problems=problems, horizon_low=20, horizon_high=200
    )
    recipe = Recipe(
        "celo",
        tasks=(DIGITS,),
        stages=(rule, dataclasses.replace(rule, trains="scheduler")),
        validate_every=0,
        iterations_per_call=min(20, iterations),
    )
    result = meta_train(recipe, folder, Settings(progress=sys.stderr.isatty()))
    print(f"theta: {result.path / 'theta.safetensors'}")

    optimizer = result.learned.optimizer(result.theta, num_steps=200)
    params = {"w": jax.random.normal(jax.random.key(0), (16,)), "b": jnp.ones(())}

    def loss(params):
        return jnp.mean((params["w"] + params["b"] - jnp.arange(16.0) / 8) ** 2)

    @jax.jit
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), value

    _, losses = jax.lax.scan(step, (params, optimizer.init(params)), length=200)
    print(f"loss of 200 steps with it: {losses[0]:.3f} to {losses[-1]:.3f}")
    return float(losses[-1])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
