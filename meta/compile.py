"""How programs are compiled: `jax.jit` with compiler options for long scans on a CPU.

Compiling these programs on a CPU takes longer than a hundred meta-iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

# LLVM at level 2 spends four times as long on these programs (unrolled random-number rounds above all) for no
# gain in speed; nor do the passes that LLVM calls expensive gain any. Vectors of 512 bits, where they exist,
# make the update rule a sixth faster.
CPU_OPTIONS = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_prefer_vector_width": 512,
}
# Level 0 compiles fastest and runs several times slower.
ONCE_OPTIONS = {"xla_backend_optimization_level": 0}


def jit(function: Callable[..., Any], **kwargs: Any) -> Any:
    """`jax.jit` with `CPU_OPTIONS` where the default backend is the CPU; ``kwargs`` go to `jax.jit`."""
    return _jit(function, CPU_OPTIONS, kwargs)


def jit_once(function: Callable[..., Any], **kwargs: Any) -> Any:
    """`jit` with `ONCE_OPTIONS`, for a function that is called once."""
    return _jit(function, ONCE_OPTIONS, kwargs)


def _jit(function: Callable[..., Any], options: dict[str, Any], kwargs: dict[str, Any]) -> Any:
    if jax.default_backend() == "cpu":
        kwargs.setdefault("compiler_options", options)
    return jax.jit(function, **kwargs)
