"""Learned optimizers for JAX: Celo and its relatives as optax transformations, with their weights.

A stock optax training loop, with the loss handed to ``update`` as ``value=``:

    >>> import celo, jax, jax.numpy as jnp, optax
    >>> loss = lambda w: jnp.sum(jnp.square(w - 3.0))
    >>> theta = celo.learned_optimizer("celo").init(jax.random.key(0))
    >>> optimizer = celo.celo(num_steps=100, theta=theta)
    >>> w = jnp.ones(4)
    >>> state = optimizer.init(w)
    >>> value, gradient = jax.value_and_grad(loss)(w)
    >>> updates, state = optimizer.update(gradient, state, w, value=value)
    >>> w = optax.apply_updates(w, updates)
    >>> w.shape, state.eta.shape
    ((4,), ())
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

import optax
from jax import Array

from celo import interop, wrappers
from celo._core import trees
from celo.baselines import HAND_DESIGNED, eval_params, hand_designed
from celo.checkpoint import load, packaged, save
from celo.learned import LEARNED, learned_optimizer
from celo.learned.celo import Celo

__all__ = [
    "HAND_DESIGNED",
    "LEARNED",
    "__version__",
    "celo",
    "eval_params",
    "hand_designed",
    "interop",
    "learned_optimizer",
    "load",
    "save",
    "wrappers",
]

__version__ = importlib.metadata.version("celo")


def celo(num_steps: float | Array, theta: Any = None) -> optax.GradientTransformationExtraArgs:
    """Celo (arXiv 2501.12670), ready to train with.

    ``p <- p - eta_t * 0.001 d exp(0.001 m) rms(p)``, with d and m from an MLP at every parameter and eta_t
    from an LSTM that follows the loss. There is no learning rate to tune.

    Args:
        num_steps: number of steps of the training ahead, at least 1; may be traced.
        theta: meta-parameters; a file, packaged name or hub address as `celo.load` takes; the packaged
            weights if None.

    Returns:
        An optax transformation; its ``update`` needs the parameters and the scalar loss:
        ``update(grads, state, params, value=loss)``. ``state.eta`` is the last step size.

    Raises:
        ValueError: if num_steps is below 1, or theta is not one of Celo's or has numbers that are not finite.
        FileNotFoundError: if the file is not there, or None was given and no weights are packaged.

    Example:
        >>> import jax
        >>> theta = learned_optimizer("celo").init(jax.random.key(0))
        >>> optimizer = optax.chain(optax.clip_by_global_norm(1.0), celo(1000, theta))
    """
    if theta is None:
        if "celo" not in packaged():
            raise FileNotFoundError(
                "this installation has no weights pretrained/celo.safetensors; give theta=, for example a "
                "file or 'hf://amoudgl/celo'"
            )
        theta = "celo"
    if isinstance(theta, str | os.PathLike):
        learned, theta = load(theta, name="celo")
        return learned.optimizer(theta, num_steps)
    optimizer = Celo().optimizer(theta, num_steps)
    trees.check_finite(trees.known(theta), "theta")
    return optimizer
