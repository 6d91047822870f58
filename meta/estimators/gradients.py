"""Augmentations of the inner gradient: worse, rarer or older gradients than those of back-propagation.

A task gives an `Evaluate`, the loss and the gradient of parameters on a batch. Each function here makes
another one of it, by scalars that may be traced; with the neutral value of its scalars it changes no bit.

Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C.5, in the order of the published code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

PyTree = Any

Evaluate = Callable[[PyTree, PyTree], tuple[Array, PyTree, PyTree]]
"""From parameters and a batch to the loss, (), the model state after, and the gradient."""

LONGEST_DELAY = 7

_SIGMA = (1e-3, 0.1)
_PAIRS = (1, 2, 4, 8, 16)
_FRACTION = (0.01, 1.0)
_DIRECTIONS = (1.0, 1024.0)
_DELAY = (1.0, 8.0)
# Numbers of random keys beside that of the loss.
_EVOLUTION, _SUBSPACE = 1 << 16, 1 << 17


class GradientDraw(NamedTuple):
    """How the gradients of one inner problem are changed; each (), fixed while the problem is trained.

    Attributes:
        pairs: antithetic pairs of evolution strategies; 0 = back-propagation.
        sigma: standard deviation of their perturbations.
        fraction: share of the batch that is used; 1 = all.
        bfloat16: whether parameters, batches, losses and gradients are rounded to bfloat16.
        normalized: whether the gradient is divided by its norm.
        directions: random directions that the gradient is measured along; 0 = the whole gradient.
        signs: whether only the sign of each measurement is used.
        delay: steps by which the gradient is late, 0 to `LONGEST_DELAY`.
    """

    pairs: Array
    sigma: Array
    fraction: Array
    bfloat16: Array
    normalized: Array
    directions: Array
    signs: Array
    delay: Array


@dataclasses.dataclass(frozen=True)
class GradientAugmentation:
    """Probabilities with which the gradients of an inner problem are changed, each independent of the others.

    The defaults are those of VeLO. What has probability 0 is not in the compiled program. The others are
    computed for all problems and selected, evolution strategies and directions for as many pairs and
    directions as any problem of a batch has.

    Attributes:
        evolution: gradients by evolution strategies, 1 to 16 pairs, sigma log-uniform in [1e-3, 0.1].
        batch: a share of the batch, uniform in [0.01, 1].
        bfloat16: numbers rounded to bfloat16.
        normalized: gradients of norm 1.
        subspace: gradients measured along 1 to 1,023 directions, log-uniform; in half of the problems by
            signs alone.
        delay: gradients that are 1 to 7 steps late, log-uniform.

    Example:
        >>> half = GradientAugmentation(bfloat16=0.5)
        >>> half.draw(jax.random.key(0)).pairs.dtype
        dtype('int32')
    """

    evolution: float = 0.08
    batch: float = 0.2
    bfloat16: float = 0.2
    normalized: float = 0.05
    subspace: float = 0.08
    delay: float = 0.05

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{field.name} is {value}; expected a probability")

    def draw(self, key: Array) -> GradientDraw:
        """Draws how the gradients of a problem are changed."""
        fields = [field.name for field in dataclasses.fields(self)]
        probabilities = jnp.asarray([getattr(self, name) for name in fields], jnp.float32)
        key_chosen, key_values = jax.random.split(key)
        chosen = jax.random.uniform(key_chosen, (len(fields),), jnp.float32) < probabilities
        on = dict(zip(fields, chosen, strict=True))
        u = jax.random.uniform(key_values, (6,), jnp.float32)
        pairs = jnp.asarray(_PAIRS, jnp.int32)[(u[0] * len(_PAIRS)).astype(jnp.int32)]
        fraction = _FRACTION[0] + (_FRACTION[1] - _FRACTION[0]) * u[2]
        # Truncated, as published, so that the largest numbers are never drawn.
        directions, delay = (
            _log_uniform(*bounds, x).astype(jnp.int32) for bounds, x in ((_DIRECTIONS, u[3]), (_DELAY, u[5]))
        )
        return GradientDraw(
            pairs=jnp.where(on["evolution"], pairs, 0),
            sigma=_log_uniform(*_SIGMA, u[1]),
            fraction=jnp.where(on["batch"], fraction, 1.0),
            bfloat16=on["bfloat16"],
            normalized=on["normalized"],
            directions=jnp.where(on["subspace"], jnp.maximum(directions, 1), 0),
            signs=u[4] < 0.5,
            delay=jnp.where(on["delay"], jnp.clip(delay, 1, LONGEST_DELAY), 0),
        )

    def change(
        self, evaluate: Evaluate, draw: GradientDraw, key: Array, past: PyTree, age: Array, examples: bool
    ) -> Evaluate:
        """The evaluation of one step of a problem.

        Args:
            evaluate: that of the task.
            draw: how the problem's gradients are changed.
            key: of the step.
            past: parameters of past steps, see `first_past`.
            age: () int32, steps done.
            examples: whether the first axis of every array of a batch is the examples; else the batch stays.
        """
        if self.evolution:
            evaluate = by_evolution(evaluate, draw.pairs, draw.sigma, jax.random.fold_in(key, _EVOLUTION))
        if self.batch and examples:
            evaluate = on_fewer_examples(evaluate, draw.fraction)
        if self.bfloat16:
            evaluate = in_bfloat16(evaluate, draw.bfloat16)
        if self.normalized:
            evaluate = of_norm_one(evaluate, draw.normalized)
        if self.subspace:
            key_subspace = jax.random.fold_in(key, _SUBSPACE)
            evaluate = along_directions(evaluate, draw.directions, draw.signs, key_subspace)
        return late(evaluate, past, draw.delay, age) if self.delay else evaluate

    def store(self, params: PyTree, draw: GradientDraw) -> PyTree:
        """The parameters as a problem keeps them: rounded, if it is one in bfloat16."""
        return rounded(params, draw.bfloat16) if self.bfloat16 else params

    def first_past(self, params: PyTree) -> PyTree:
        """The parameters of past steps before the first: a ring of copies; None if nothing is late."""
        if not self.delay:
            return None
        return jax.tree.map(lambda p: jnp.broadcast_to(p, (LONGEST_DELAY, *p.shape)), params)

    def next_past(self, past: PyTree, params: PyTree, age: Array) -> PyTree:
        """The ring with the parameters before a step, whose number is ``age``."""
        if not self.delay:
            return None
        return jax.tree.map(lambda ring, p: ring.at[age % LONGEST_DELAY].set(p), past, params)


def by_evolution(evaluate: Evaluate, pairs: Array, sigma: Array, key: Array) -> Evaluate:
    """The gradient estimated by antithetic evolution strategies; the loss is that of the parameters.

    ``g = 1/n sum_i e_i (L(p + e_i) - L(p - e_i)) / (2 sigma^2)`` with ``e_i ~ N(0, sigma^2)``, all
    losses on one batch. n = 0 pairs leave the gradient.
    """

    def changed(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
        loss, model_state, gradient = evaluate(params, batch)
        flat, unravel = ravel_pytree(params)

        def add(i: Array, total: Array) -> Array:
            e = sigma * jax.random.normal(jax.random.fold_in(key, i), flat.shape, flat.dtype)
            difference = evaluate(unravel(flat + e), batch)[0] - evaluate(unravel(flat - e), batch)[0]
            return total + e * difference

        total = jax.lax.fori_loop(0, pairs, add, jnp.zeros_like(flat))
        count = jnp.maximum(pairs, 1).astype(flat.dtype)
        estimate = unravel(total / (2.0 * count * jnp.square(sigma)))
        return loss, model_state, _either(pairs > 0, estimate, gradient)

    return changed


def on_fewer_examples(evaluate: Evaluate, fraction: Array) -> Evaluate:
    """Loss and gradient on the first ``n = max(1, floor(fraction B))`` of B examples.

    Example i becomes example ``i mod n``, so that shapes stay. If n does not divide B, the first ``B mod n``
    examples count once more than the others.
    """

    def fewer(x: Array) -> Array:
        if not x.ndim:
            return x
        count = jnp.maximum(1, jnp.floor(fraction * x.shape[0]).astype(jnp.int32))
        return x[jnp.arange(x.shape[0], dtype=jnp.int32) % count]

    return lambda params, batch: evaluate(params, jax.tree.map(fewer, batch))


def in_bfloat16(evaluate: Evaluate, chosen: Array) -> Evaluate:
    """Parameters, batch, loss and gradient rounded to bfloat16; products inside the loss keep float32."""

    def changed(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
        loss, model_state, gradient = evaluate(rounded(params, chosen), rounded(batch, chosen))
        return rounded(loss, chosen), model_state, rounded(gradient, chosen)

    return changed


def of_norm_one(evaluate: Evaluate, chosen: Array) -> Evaluate:
    """The gradient divided by its norm over all tensors; a gradient of zero stays."""

    def changed(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
        loss, model_state, gradient = evaluate(params, batch)
        norm = optax.tree_utils.tree_norm(gradient)
        factor = jnp.where(chosen & (norm > 0), 1.0 / jnp.where(norm > 0, norm, 1.0), 1.0)
        return loss, model_state, jax.tree.map(lambda g: g * factor.astype(g.dtype), gradient)

    return changed


def along_directions(evaluate: Evaluate, directions: Array, signs: Array, key: Array) -> Evaluate:
    """The gradient g measured along random directions u of norm 1, ``sum_i u_i (u_i . g)``.

    With ``signs`` a measurement counts by its sign alone. 0 directions leave the gradient.
    """

    def changed(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
        loss, model_state, gradient = evaluate(params, batch)
        flat, unravel = ravel_pytree(gradient)

        def add(i: Array, total: Array) -> Array:
            u = jax.random.normal(jax.random.fold_in(key, i), flat.shape, flat.dtype)
            u = u / jnp.linalg.norm(u)
            measured = jnp.vdot(u, flat)
            return total + u * jnp.where(signs, jnp.sign(measured), measured)

        total = jax.lax.fori_loop(0, directions, add, jnp.zeros_like(flat))
        return loss, model_state, _either(directions > 0, unravel(total), gradient)

    return changed


def late(evaluate: Evaluate, past: PyTree, delay: Array, age: Array) -> Evaluate:
    """Loss and gradient of the parameters ``delay`` steps ago, or of the first; 0 is the present.

    ``past`` is the ring of `GradientAugmentation.next_past`.
    """
    before = jax.tree.map(lambda ring: ring[(age - delay) % LONGEST_DELAY], past)

    def changed(params: PyTree, batch: PyTree) -> tuple[Array, PyTree, PyTree]:
        return evaluate(_either(delay > 0, before, params), batch)

    return changed


def rounded(tree: PyTree, chosen: Array) -> PyTree:
    """The float32 arrays of a tree, rounded to bfloat16 if ``chosen``."""

    def one(x: Array) -> Array:
        if x.dtype != jnp.float32:
            return x
        return jnp.where(chosen, jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7), x)

    return jax.tree.map(one, tree)


def _either(chosen: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), yes, no)


def _log_uniform(low: float, high: float, u: Array) -> Array:
    return jnp.exp(math.log(low) + (math.log(high) - math.log(low)) * u)
