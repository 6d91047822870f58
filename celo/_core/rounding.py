"""Storing an optimizer's averages in bfloat16, rounded at random so that small steps are not lost."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import checks

PyTree = Any

# Tensors with fewer entries stay in float32: they take no memory to speak of.
SMALLEST = 1 << 12


class RoundedState(NamedTuple):
    """State of `rounded_state`: arrays only.

    Attributes:
        count: () int32, updates done; the random numbers follow from it.
        inner: the state of the optimizer, its averages in bfloat16.
    """

    count: Array
    inner: PyTree


def round_at_random(x: Array, seed: Array) -> Array:
    """Rounds float32 to one of its two bfloat16 neighbours, with the mean ``x``.

    A random number below ``2^16`` is added to the bits, of which bfloat16 keeps the upper half. The random
    numbers are a hash of seed and position, a few integer operations that fuse with the rounding; a
    generator such as threefry takes longer than the update itself.

    Args:
        x: float32 values, any shape; a value that is not finite stays what it is.
        seed: () uint32, another one for every array and update.

    Returns:
        bfloat16 values of the shape of ``x``.
    """
    position, stride = jnp.zeros(x.shape, jnp.uint32), 1
    for axis in reversed(range(x.ndim)):  # no reshape, so that a sharded array stays where it is
        position += jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= x.shape[axis]
    noise = _hash(_hash(position) ^ seed) & jnp.uint32(0xFFFF)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + noise
    upper = jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), upper, x.astype(jnp.bfloat16))


def _hash(x: Array) -> Array:
    """A bijection of 32-bit numbers in which every bit depends on all (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def rounded_state(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose averages are stored in bfloat16 between updates: half the memory of the state.

    Every float32 array of the state that has the shape of a parameter and at least 4,096 entries is stored
    so; an update computes in float32 and rounds the new values at random (`round_at_random`). Rounded to the
    nearest value, an average with decay 0.999 would stand still. For Celo the state takes 8 bytes per
    parameter, as Adam's.

    Args:
        inner: the optimizer. Its arrays in the shape of parameters should be averages; those of Shampoo are
            not all.

    Returns:
        An optax transformation with state `RoundedState`; `celo.step_size` reads through it.

    Example:
        >>> optimizer = rounded_state(optax.adam(1e-3))
        >>> optimizer.init(jnp.zeros((64, 64))).inner[0].mu.dtype
        dtype(bfloat16)
    """
    extended = optax.with_extra_args_support(inner)

    def store(state: PyTree, params: PyTree, count: Array) -> RoundedState:
        shapes = {jnp.shape(p) for p in jax.tree.leaves(params)}
        leaves, structure = jax.tree.flatten(state)
        seeds = jax.random.bits(jax.random.fold_in(jax.random.key(0), count), (len(leaves),), jnp.uint32)
        stored = [
            round_at_random(x, seed) if _is_average(x, shapes) else x
            for x, seed in zip(leaves, seeds, strict=True)
        ]
        return RoundedState(count, structure.unflatten(stored))

    def init(params: PyTree) -> RoundedState:
        return store(extended.init(params), params, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, RoundedState]:
        params = checks.check_params(params)
        wide = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, state.inner)
        updates, new = extended.update(updates, wide, params, **extra)
        return updates, store(new, params, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _is_average(x: Any, shapes: set[tuple[int, ...]]) -> bool:
    return jnp.size(x) >= SMALLEST and jnp.shape(x) in shapes and x.dtype == jnp.float32
