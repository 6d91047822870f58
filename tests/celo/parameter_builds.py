"""One optimizer of each kind and parameters for it, for tests of what trees they take."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from celo import guarded, hand_designed, learned_optimizer, wrappers
from tests.celo.checkpoint_contents import random_theta

Tree = Any
Build = Callable[[], optax.GradientTransformationExtraArgs]

PARAMS: Tree = {"layer": {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}, "scale": jnp.float32(2.0)}
LOSS = jnp.float32(0.7)


def learned(name: str, **config: Any) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer with small random meta-parameters."""
    return learned_optimizer(name, **config).optimizer(random_theta(name, scale=0.1, **config), 10)


# One of each way to an update: a separate rule, optax's, ours from optax's parts, both, and a wrapper.
BUILDS: dict[str, Build] = {
    "celo": functools.partial(learned, "celo"),
    "nn_adam": functools.partial(learned, "nn_adam"),
    "celo2": functools.partial(learned, "celo2"),
    "learnable_sgd": functools.partial(learned, "learnable_sgd"),
    "sgd": functools.partial(hand_designed, "sgd", 0.1),
    "adamw": functools.partial(hand_designed, "adamw", 0.1),
    "guarded": lambda: guarded(lambda steps: learned("celo"), 40, most_steps=20),
    "loss_weight_decay": lambda: wrappers.loss_weight_decay(learned("celo"), 0.1),
}
builds = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def trace(optimizer: optax.GradientTransformation, grads: Tree, params: Tree) -> Tree:
    """Shapes of the updates of one step, nothing computed."""
    update = optax.with_extra_args_support(optimizer).update
    return jax.eval_shape(lambda g, p: update(g, optimizer.init(p), p, value=LOSS)[0], grads, params)


def shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)
