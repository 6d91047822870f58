"""The two Pallas kernels of a learned rule; `celo._core.pallas` says what they are for."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import averages

Ref = Any

# Parameters per program, a power of two, and per warp: eight for each thread.
BLOCK = 1024
WARP = 256
# Whether the kernels run in Pallas's interpreter, on any platform: for tests.
INTERPRET = False

DECAYS = 3


@dataclasses.dataclass(frozen=True)
class ElementRule:
    """A learned rule as the kernels compute it; its functions see blocks of a tensor and act elementwise.

    The features of the rule are those of its head, then ``row; col; rsqrt(row); rsqrt(col); m rf cf`` as in
    `celo._core.features.celo_features`.

    Attributes:
        bound: from the gradient to its bounded float32.
        head: ``head(g, p, momenta, v, y)``, the features before those of rows and columns.
        finish: ``finish(outputs, p, momenta, v)``, the step from the outputs of the network.
        outputs: how many of the network's outputs to compute.
        epsilon: of the normalisers.
        epsilon_vector: added under the root of ``m rsqrt(diagonal)``, the last features below rank 2.
        shown: whether a tensor of rank below 2 has features beyond the head.
    """

    bound: Callable[[Array], Array]
    head: Callable[..., list[Array]]
    finish: Callable[..., Array]
    outputs: int
    epsilon: float = 1e-5
    epsilon_vector: float = 0.0
    shown: bool = True


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of one shape under a rule.

    Attributes:
        rule: the rule.
        shape: the shape.
    """

    rule: ElementRule
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return math.prod(self.shape)

    @property
    def matrix(self) -> bool:
        """Whether its second moments are factored."""
        return len(self.shape) >= 2

    @property
    def tail(self) -> bool:
        """Whether the network sees more than the head."""
        return self.matrix or self.rule.shown

    @property
    def block(self) -> int:
        """Parameters per program."""
        return min(BLOCK, 1 << (self.size - 1).bit_length())

    def lines(self, at: Array) -> list[Array]:
        """Row and column of each position in the flattened tensor; below rank 2 the position alone."""
        axes = averages.factored_axes(self.shape)
        return [at] if axes is None else [self._without(axis, at) for axis in reversed(axes)]

    def _without(self, axis: int, at: Array) -> Array:
        """Position in the flattened tensor without that axis."""
        inner = math.prod(self.shape[axis + 1 :])
        outer = inner * self.shape[axis]
        position = jnp.zeros_like(at)
        if outer < self.size:
            position += jax.lax.div(at, jnp.full_like(at, outer)) * inner
        return position + jax.lax.rem(at, jnp.full_like(at, inner)) if inner > 1 else position


def triton() -> Any:
    """Pallas's module for Triton.

    Raises:
        ImportError: if this JAX is older than it.
    """
    from jax.experimental.pallas import triton  # late: programs without these kernels do not need it

    if not hasattr(triton, "load"):
        raise ImportError("kernels='pallas' needs JAX 0.7.1 or newer")
    return triton


def first_pass(
    tensor: Tensor, count: int, decays: Array, arrays: Sequence[Array], factors: Sequence[Array]
) -> tuple[list[Array], Array]:
    """Updates momenta and second moment, and sums the squares of the elementwise features.

    Args:
        tensor: the tensor.
        count: how many features there are.
        decays: (2, averages), each decay and its complement.
        arrays: gradient, parameters, momenta, second moment, flattened; all but the first two are overwritten
            where nothing else reads them.
        factors: what multiplies g and m, see `celo._core.pallas`.

    Returns:
        The new momenta and second moment, and the sums, (features, blocks).
    """
    from jax.experimental import pallas as pl

    blocks = -(-tensor.size // tensor.block)
    new = [jax.ShapeDtypeStruct((tensor.size,), jnp.float32) for _ in arrays[2:]]
    averaged, sums = _call(
        _first_kernel,
        tensor,
        (decays, [*factors]),
        arrays,
        (new, jax.ShapeDtypeStruct((count, blocks), jnp.float32)),
        ([_blocked(tensor)] * len(new), pl.BlockSpec((count, 1), lambda i: (0, i))),
        {1 + len(factors) + 2 + k: k for k in range(len(new))},
    )
    return averaged, sums


def second_pass(
    tensor: Tensor,
    layers: Sequence[tuple[Array, Array]],
    arrays: Sequence[Array],
    factors: Sequence[Array],
    lines: Sequence[Array],
) -> Array:
    """Runs the network and finishes the step.

    Args:
        tensor: the tensor.
        layers: weight and bias of each layer of the network of the elementwise features.
        arrays: gradient, parameters, new momenta and second moment, flattened.
        factors: what multiplies g and m, see `celo._core.pallas`.
        lines: what the features of rows and columns add to the first layer.

    Returns:
        The step, (parameters,).
    """
    out = jax.ShapeDtypeStruct((tensor.size,), jnp.float32)
    whole = ([*factors], [*lines], [*layers])
    return _call(_second_kernel, tensor, whole, arrays, out, _blocked(tensor), {})


def _call(
    kernel: Callable[..., None],
    tensor: Tensor,
    whole: Any,
    arrays: Sequence[Array],
    out_shape: Any,
    out_specs: Any,
    aliases: dict[int, int],
) -> Any:
    """One launch, a program per block; ``whole`` are arrays of which every program may read all."""
    from jax.experimental import pallas as pl

    call = pl.pallas_call(
        functools.partial(kernel, tensor),
        out_shape,
        grid=(-(-tensor.size // tensor.block),),
        in_specs=(jax.tree.map(lambda _: pl.BlockSpec(), whole), [_blocked(tensor)] * len(arrays)),
        out_specs=out_specs,
        input_output_aliases=aliases,
        compiler_params=triton().CompilerParams(num_warps=max(1, tensor.block // WARP)),
        interpret=INTERPRET,
        name=kernel.__name__.strip("_"),
    )
    return call(whole, [*arrays])


def _blocked(tensor: Tensor) -> Any:
    from jax.experimental import pallas as pl

    return pl.BlockSpec((tensor.block,), lambda i: (i,))


def _first_kernel(tensor: Tensor, whole: Any, arrays: list[Ref], averaged: list[Ref], sums: Ref) -> None:
    decays, factors = whole
    block = _Block(tensor)
    g, p, *old = map(block.read, arrays)
    g = tensor.rule.bound(g)
    targets = [*[g] * (len(old) - 1), jnp.square(g)]
    new = [decays[0, k] * x + decays[1, k] * y for k, (x, y) in enumerate(zip(old, targets, strict=True))]
    for ref, x in zip(averaged, new, strict=True):
        block.write(ref, x)
    for k, x in enumerate(block.features(g, p, new, factors)):
        sums[k, 0] = jnp.sum(jnp.where(block.inside, jnp.square(x), 0.0))


def _second_kernel(tensor: Tensor, whole: Any, arrays: list[Ref], out: Ref) -> None:
    factors, lines, layers = whole
    block = _Block(tensor)
    g, p, *averaged = map(block.read, arrays)
    x = block.features(tensor.rule.bound(g), p, averaged, factors)
    for k, (w, b) in enumerate(layers):
        x = [jnp.maximum(y, 0.0) for y in x] if k else x
        x = [_sum((w[i, j] * y for i, y in enumerate(x)), b[j]) for j in range(w.shape[1])]
        if k == 0:
            x = [_sum(block.look_up(lines, j), y) for j, y in enumerate(x)]
    block.write(out, tensor.rule.finish(x, p, averaged[:-1], averaged[-1]))


def _sum(terms: Iterable[Array], start: Array) -> Array:
    return functools.reduce(jnp.add, terms, start)


class _Block:
    """The part of a flattened tensor that a program treats; the last one may reach beyond the tensor."""

    def __init__(self, tensor: Tensor):
        from jax.experimental import pallas as pl

        self._tensor, self._triton = tensor, triton()
        at = pl.program_id(0) * tensor.block + jax.lax.iota(jnp.int32, tensor.block)
        self.inside, self._lines = at < tensor.size, tensor.lines(at)

    def read(self, ref: Ref) -> Array:
        """This part of an array, in float32, zero beyond the tensor."""
        return self._triton.load(ref, mask=self.inside, other=0).astype(jnp.float32)

    def write(self, ref: Ref, x: Array) -> None:
        """Stores this part of an array."""
        self._triton.store(ref, x, mask=self.inside)

    def look_up(self, tables: Sequence[Ref], k: int) -> list[Array]:
        """Entry k of each parameter's row and of its column; of one table, the row alone."""
        places = zip(tables, self._lines, strict=False)
        return [self._triton.load(ref.at[k, at], mask=self.inside, other=0) for ref, at in places]

    def features(self, g: Array, p: Array, averaged: Sequence[Array], factors: Sequence[Ref]) -> list[Array]:
        """The head and, where the network sees them, the ``m rf cf``."""
        *momenta, v = averaged
        of_g = [functools.reduce(jnp.multiply, self.look_up(factors, k)) for k in range(DECAYS)]
        head = self._tensor.rule.head(g, p, momenta, v, [g * f for f in of_g])
        if not self._tensor.tail:
            return head
        beyond = range(DECAYS, 2 * DECAYS)
        of_m = of_g if self._tensor.matrix else [self.look_up(factors, k)[0] for k in beyond]
        return [*head, *(m * f for m, f in zip(momenta, of_m, strict=True))]
