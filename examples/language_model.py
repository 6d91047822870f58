"""A byte transformer trained with Celo2: a rate with warm-up and cosine, weight decay on matrices only.

Celo2 needs a learning rate. Hidden matrices take the learned rule; vectors, embeddings and the head take
Adam at 20 times the rate. `celo.routing` prints which parameter takes which.
"""

from pydoc_data import topics

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import celo

CONTEXT, WIDTH, LAYERS, BATCH = 64, 64, 2, 16


class Block(nn.Module):
    """Causal self-attention and a perceptron, each after a layer norm."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same."""
        mask = nn.make_causal_mask(x[..., 0])
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x), mask=mask)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    """Predicts the next byte."""

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens (batch, time) to logits (batch, time, 256)."""
        x = nn.Embed(256, WIDTH, name="token_embed")(tokens)
        x += nn.Embed(CONTEXT, WIDTH, name="position_embed")(jnp.arange(tokens.shape[1]))
        for i in range(LAYERS):
            x = Block(name=f"block_{i}")(x)
        return nn.Dense(256, name="lm_head")(nn.LayerNorm()(x))


def main(num_steps: int = 2000, peak: float = 3e-3, theta="hf://amoudgl/celo2") -> float:
    """Train for ``num_steps`` steps and return the final loss, in nats per byte."""
    text = np.frombuffer("\n".join(topics.topics.values()).encode(), np.uint8).astype(np.int32)
    model = Transformer()
    params = model.init(jax.random.key(0), jnp.zeros((1, CONTEXT), jnp.int32))["params"]
    print(celo.routing("celo2", params))

    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, num_steps // 10, num_steps)
    matrices = jax.tree.map(lambda p: p.ndim >= 2, params)
    optimizer = optax.chain(
        celo.celo2(num_steps, learning_rate=schedule, theta=theta),
        optax.add_decayed_weights(lambda count: -0.1 * schedule(count), mask=matrices),
    )
    state = optimizer.init(params)

    def loss(params, tokens):
        logits = jnp.asarray(model.apply({"params": params}, tokens[:, :-1]))
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @jax.jit
    def step(params, state, tokens):
        value, grads = jax.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    rng, value = np.random.default_rng(0), jnp.inf
    for i in range(num_steps):
        starts = rng.integers(len(text) - CONTEXT - 1, size=(BATCH, 1))
        params, state, value = step(params, state, text[starts + np.arange(CONTEXT + 1)])
        if i % 100 == 0 or i == num_steps - 1:
            print(f"step {i:4d}  loss {value:.3f}")
    return float(value)


if __name__ == "__main__":
    main()
