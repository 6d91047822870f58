"""JAX with double precision by default, as JAX_ENABLE_X64 makes it, for the time of a block."""

from typing import Any

import jax
import jax.experimental

if hasattr(jax, "enable_x64"):
    double_by_default: Any = jax.enable_x64
else:  # its first name, in the oldest JAX there is
    double_by_default = jax.experimental.enable_x64  # pyright: ignore[reportAttributeAccessIssue]
