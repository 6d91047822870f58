"""Learned optimizers for JAX: Celo and its relatives as optax transformations, with their weights.

An optax training loop, where ``update`` also takes the loss as ``value=``:

    >>> import celo, jax, jax.numpy as jnp, optax
    >>> loss = lambda w: jnp.sum(jnp.square(w - 3.0))
    >>> theta = celo.learned_optimizer("celo").init(jax.random.key(0))
    >>> optimizer = celo.celo(num_steps=100, theta=theta)
    >>> w = jnp.ones(4)
    >>> state = optimizer.init(w)
    >>> value, gradient = jax.value_and_grad(loss)(w)
    >>> updates, state = optimizer.update(gradient, state, w, value=value)
    >>> w = optax.apply_updates(w, updates)
    >>> w.shape, celo.step_size(state).shape
    ((4,), ())
"""

from __future__ import annotations

import importlib.metadata

from celo import interop, wrappers
from celo.baselines import HAND_DESIGNED, eval_params, hand_designed
from celo.checkpoint import load, save
from celo.factories import (
    adafac_mlp,
    celo,
    celo2,
    celo2_auto,
    celo2_base,
    celo_adam,
    learnable_adam,
    learnable_sgd,
    learnable_sgdm,
    mlp_lopt,
    nn_adam,
    rnn_mlp,
    star,
    velo,
    velo_s,
)
from celo.guards import guarded
from celo.inspection import routing, step_size
from celo.learned import LEARNED, learned_optimizer

__all__ = [
    "HAND_DESIGNED",
    "LEARNED",
    "__version__",
    "adafac_mlp",
    "celo",
    "celo2",
    "celo2_auto",
    "celo2_base",
    "celo_adam",
    "eval_params",
    "guarded",
    "hand_designed",
    "interop",
    "learnable_adam",
    "learnable_sgd",
    "learnable_sgdm",
    "learned_optimizer",
    "load",
    "mlp_lopt",
    "nn_adam",
    "rnn_mlp",
    "routing",
    "save",
    "star",
    "step_size",
    "velo",
    "velo_s",
    "wrappers",
]

__version__ = importlib.metadata.version("celo")
