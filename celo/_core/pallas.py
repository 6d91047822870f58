"""Kernels for the two passes of a learned rule over a tensor, written in Pallas and lowered through Triton.

The plain form of a rule (`celo._core.normalisers.two_passes`, `celo._core.mlp.apply`) is the reference. Here
pass one is one kernel that updates the running averages and sums the squares of the features per block, and
pass two another that forms the features again, runs the network and writes the step. What belongs to a row or
a column (factored moments, their features, their part of the first layer) is small and stays in the plain
form; the kernels look it up. Under `jax.vmap` a kernel gains an axis of its grid, so that the small tensors
stacked by `celo._core.tensors` share a launch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core import averages, features, mlp, pallas_kernels
from celo._core.averages import Decay, Decays, TensorStatistics
from celo._core.normalisers import inverse_rms
from celo._core.pallas_kernels import DECAYS, ElementRule, Tensor


def check_kernels(kernels: Any) -> None:
    """Refuses anything but "plain" and "pallas".

    Raises:
        ValueError: with the value.
        ImportError: for "pallas", if this JAX is too old for the kernels.
    """
    if type(kernels) is not str or kernels not in ("plain", "pallas"):
        raise ValueError(f"kernels is {kernels!r}; expected 'plain' or 'pallas'")
    if kernels == "pallas":
        pallas_kernels.triton()


def by_platform(kernels: str, plain: Callable[..., Any], kernel: Callable[..., Any], *arguments: Any) -> Any:
    """``kernel(*arguments)`` on CUDA if it is requested and suits them, else ``plain(*arguments)``.

    Tensors on a mesh of several devices take the plain form: XLA would gather them for a kernel. It sees a
    mesh of `jax.set_mesh`, of `jax.shard_map` and of explicit axes, but not the shardings of a `jax.jit`
    outside all of these. Derivatives are those of the plain form.

    Args:
        kernels: "plain" or "pallas".
        plain: the reference.
        kernel: computes the same with kernels.
        *arguments: trees of arrays.
    """
    sizes = [jnp.size(x) for x in jax.tree.leaves(arguments)]
    if kernels == "plain" or _on_mesh(arguments) or not 0 < max(sizes) < 2**31:
        return plain(*arguments)

    @jax.custom_jvp
    def run(*arguments: Any) -> Any:
        if pallas_kernels.INTERPRET:
            return kernel(*arguments)
        return jax.lax.platform_dependent(*arguments, cuda=kernel, default=plain)

    run.defjvp(functools.partial(jax.jvp, plain))
    return run(*arguments)


def _on_mesh(tree: Any) -> bool:
    meshes = [jax.sharding.get_abstract_mesh(), *(jax.typeof(x).sharding.mesh for x in jax.tree.leaves(tree))]
    return any(mesh.size > 1 for mesh in meshes if not mesh.empty)


def step(
    rule: ElementRule, decays: Decays, weights: mlp.Weights, p: Array, g: Array, old: TensorStatistics
) -> tuple[Array, TensorStatistics, Array]:
    """One tensor's step and new running averages, by the two kernels.

    Args:
        rule: what to compute at every parameter.
        decays: of the running averages.
        weights: of the rule's MLP.
        p: parameters before the step, any dtype.
        g: gradient, any dtype.
        old: running averages before the step.

    Returns:
        What ``rule.finish`` gives, float32 in the shape of ``p``; the new running averages; and the means of
        the squared elementwise features.
    """
    tensor = Tensor(rule, jnp.shape(p))
    bounded = rule.bound(g)
    moments = [
        averages.factored_average(row, col, bounded, d)
        for row, col, d in zip(old.rows, old.cols, decays.factored, strict=True)
    ]
    rows, cols = tuple(row for row, _ in moments), tuple(col for _, col in moments)
    factors = _factors(tensor, rows, cols)
    g, p, *averaged = (jnp.reshape(x, -1) for x in (g, p, *old.momenta, old.v))
    count = weights["w0"].shape[0] - (4 * DECAYS if tensor.tail else 0)
    averaged, sums = pallas_kernels.first_pass(
        tensor, count, _weights_of_past(decays), [g, p, *averaged], factors
    )
    means = jnp.sum(sums, axis=1) / np.float32(tensor.size)
    layers, lines = _fold(tensor, weights, jax.lax.rsqrt(rule.epsilon + means), rows, cols)
    out = pallas_kernels.second_pass(tensor, layers, [g, p, *averaged], factors, lines)
    *momenta, v = (x.reshape(tensor.shape) for x in averaged)
    return out.reshape(tensor.shape), TensorStatistics(tuple(momenta), v, rows, cols), means


def _weights_of_past(decays: Decays) -> Array:
    """Each decay and its complement, (2, averages). A complement taken in float32 would be another number."""
    every: list[Decay] = [*decays.momenta, decays.v]
    return jnp.stack([jnp.asarray(x, jnp.float32) for x in (*every, *(1.0 - d for d in every))]).reshape(
        2, -1
    )


def _factors(tensor: Tensor, rows: Sequence[Array], cols: Sequence[Array]) -> list[Array]:
    """What multiplies g and m at each row and column, ``[(3, rows), (3, columns)]``.

    Below rank 2 every parameter has a row: ``[(6, parameters)]``, factors of g before those of m, or
    ``[(3, parameters)]`` if the rule shows no more than its head.
    """
    if tensor.matrix:
        pairs = [averages.preconditioners(r, c, tensor.shape) for r, c in zip(rows, cols, strict=True)]
        return [jnp.stack([x.reshape(-1) for x in group]) for group in zip(*pairs, strict=True)]
    of_g = [averages.diagonal_preconditioner(d) for d in rows]
    of_m = [jax.lax.rsqrt(d + tensor.rule.epsilon_vector) for d in rows]
    return [jnp.stack([x.reshape(-1) for x in (*of_g, *(of_m if tensor.tail else ()))])]


def _fold(
    tensor: Tensor, weights: mlp.Weights, scales: Array, rows: Sequence[Array], cols: Sequence[Array]
) -> tuple[list[tuple[Array, Array]], list[Array]]:
    """The layers of the network of the elementwise features, normalisers folded in, and the part of the rest.

    Args:
        tensor: the tensor.
        weights: of the MLP.
        scales: normalisers of the elementwise features.
        rows: row moments.
        cols: column moments.

    Returns:
        Weight and bias of each layer, and what the features of rows and columns add to the first layer,
        ``[(hidden, rows), (hidden, columns)]``; below rank 2 ``[(hidden, parameters)]``, or ``[]``.
    """
    count = len(weights) // 2
    layers = [(weights[f"w{i}"], weights[f"b{i}"]) for i in range(count)]
    (w0, b0), (last, bias) = layers[0], layers[-1]
    layers[-1] = (last[:, : tensor.rule.outputs], bias[: tensor.rule.outputs])
    if not tensor.tail:
        layers[0] = (w0[: scales.shape[0]] * scales[:, None], b0)
        return layers, []
    head = scales.shape[0] - DECAYS
    w_head, *w_lines, w_tail = jnp.split(w0, [head + DECAYS * k for k in range(5)])
    layers[0] = (jnp.concatenate([w_head, w_tail]) * scales[:, None], b0)
    w_row, w_col, w_row_roots, w_col_roots = w_lines
    if not tensor.matrix:  # row and column features are the same
        return layers, [_line_part(w_row + w_col, w_row_roots + w_col_roots, rows, tensor.rule.epsilon)]
    parts = ((w_row, w_row_roots, rows), (w_col, w_col_roots, cols))
    return layers, [_line_part(w, w_roots, moments, tensor.rule.epsilon) for w, w_roots, moments in parts]


def _line_part(w: Array, w_roots: Array, moments: Sequence[Array], epsilon: float) -> Array:
    """``sum_i w[i, j] x_i`` over normalised moments and their roots x_i, (hidden, lines)."""
    flat = [x.reshape(-1) for x in moments]
    inputs = [*flat, *features.roots(flat)]
    scaled = jnp.concatenate([w, w_roots]) * inverse_rms(inputs, epsilon)[:, None]
    return jnp.stack(mlp.linear(scaled, jnp.zeros(w.shape[1], jnp.float32), inputs))
