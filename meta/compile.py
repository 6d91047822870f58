"""How programs are compiled: `jax.jit` with the compiler options that meta-training wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

# On CPU, LLVM at level 2 spends four times as long on these programs (unrolled random-number rounds above
# all) and the result is no faster. Vectors of 512 bits, where there are any,
# make the update rule a sixth faster.
CPU_OPTIONS = {"xla_backend_optimization_level": 1, "xla_cpu_prefer_vector_width": 512}


def jit(function: Callable[..., Any], **kwargs: Any) -> Any:
    """`jax.jit` with `CPU_OPTIONS` where the default backend is the CPU.

    Args:
        function: the function to compile.
        kwargs: passed on to `jax.jit`.
    """
    if jax.default_backend() == "cpu":
        kwargs.setdefault("compiler_options", CPU_OPTIONS)
    return jax.jit(function, **kwargs)
