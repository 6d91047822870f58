"""How many steps were done, as features on eleven time scales from 1 to 100,000 steps.

They do not depend on the horizon: an optimizer that reads these and no progress runs on past any horizon.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

TIME_SCALES = np.asarray([1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000], np.float32)
NUM_TIME_FEATURES = len(TIME_SCALES)


def tanh_features(count: Array) -> Array:
    """``tanh(count / s - 1)`` on each time scale s: from -0.76 up to 1 once it has passed. (11,)."""
    return jnp.tanh(count.astype(jnp.float32) / TIME_SCALES - 1.0)


def sin_features(count: Array) -> Array:
    """``sin(count / (pi s))`` on each time scale s. (11,)."""
    return jnp.sin(count.astype(jnp.float32) / (TIME_SCALES * np.float32(np.pi)))
