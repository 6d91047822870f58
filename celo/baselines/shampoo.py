"""Shampoo with blocks, grafting and momentum.

Shampoo (Gupta, Koren and Singer 2018, arXiv 1802.09568) with the practical additions of Anil et al. 2020
(arXiv 2002.09018): large tensors in blocks, small axes merged, the step length grafted from a diagonal
method. Constants and order of operations are those of the distributed implementation behind the published
baselines; the one numerical difference is named in `inverse_root`.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import checks
from celo._core.checks import Count, Decay, DecayOrSum, Flag, NonNegative, OneOf, Size, WholeNumber
from celo.baselines.contract import Rate, Transformation, from_optax, in_auto_mode
from celo.baselines.preconditioner import Matrices, Preconditioner, merged_shape

GRAFTS = ("sgd", "adagrad", "adagrad_normalized", "rmsprop", "rmsprop_normalized", "sqrt_n")


class ShampooState(NamedTuple):
    """State of `Shampoo`, trees like the parameters, with these in place of each leaf.

    `statistics` and `roots` hold one array (blocks, b, b) per axis of the leaf's merged shape, none for a
    leaf that is not preconditioned; `accumulator` holds the sum or the average of AdaGrad or RMSProp, nothing
    when SGD or its sign is grafted.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # what every optax state calls it
    statistics: Any
    roots: Any
    accumulator: Any
    momentum: optax.Updates
    graft_momentum: optax.Updates


def _norm(x: Array) -> Array:
    """Euclidean norm whose squares neither overflow nor vanish."""
    largest = jnp.max(jnp.abs(x), initial=0.0)
    scale = jnp.where(largest == 0.0, 1.0, largest)
    return largest * jnp.sqrt(jnp.sum(jnp.square(x / scale)))


@dataclasses.dataclass(frozen=True)
class Shampoo:
    """Shampoo's direction with the step length of a simpler method.

    With ``L_k`` the statistics of axis k of a block of rank r, ``u = G x_1 L_1^(-1/2r) ... x_r L_r^(-1/2r)``
    and ``a`` the grafted step, the direction is ``u |a| / |u|``, norms over the whole tensor. ``a`` is

    - ``g`` for "sgd" and ``sign(g)`` for "sqrt_n";
    - ``g / (sqrt(sum g^2) + 1e-10)`` for "adagrad", ``g / (sqrt(v) + 1e-10)`` with the average
      ``v <- b2 v + (1 - b2) g^2`` for "rmsprop";
    - the same of ``g / |g|`` for "adagrad_normalized" and "rmsprop_normalized".

    ``a`` and the direction have a momentum each; the first `start_preconditioning_step` updates are those of
    ``a``, as are all updates of scalars and empty tensors.

    Attributes:
        graft: where the step length comes from, one of `GRAFTS`.
        block_size: largest block along an axis, in entries.
        b1: momentum, ``m <- b1 m + step``.
        b2: decay of the statistics; 1 sums them.
        nesterov: whether the update is ``step + b1 m`` instead of ``m``.
        diagonal_epsilon: added to the denominator of AdaGrad and RMSProp.
        matrix_epsilon: initial statistics, and the ridge of `inverse_root`.
        weight_decay: times the parameters, added to both steps before the momentum.
        start_preconditioning_step: number of steps taken without preconditioning.
        preconditioning_compute_steps: steps between two computations of the roots.
        merge_small_dims_block_size: neighbouring axes are merged while their product is at most this; None
            leaves shapes as they are. At the default, a matrix of up to 4096 entries is one vector, whose
            blocks have a full-matrix preconditioner.
        skip_preconditioning_dim_size_gt: a tensor with an axis longer than this takes the grafted step.

    Raises:
        ValueError: for an option that is out of range or of another type.
    """

    graft: Annotated[str, OneOf(GRAFTS)] = "sgd"
    block_size: Size = 128
    b1: Decay = 0.9
    b2: DecayOrSum = 0.999
    nesterov: Flag = True
    diagonal_epsilon: NonNegative = 1e-10
    matrix_epsilon: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0
    start_preconditioning_step: Count = 5
    preconditioning_compute_steps: Size = 1
    merge_small_dims_block_size: Size | None = 4096
    skip_preconditioning_dim_size_gt: WholeNumber = 4096

    def __post_init__(self):
        checks.check_options(Shampoo, dataclasses.asdict(self))

    def preconditioner(self, shape: tuple[int, ...]) -> Preconditioner | None:
        """The preconditioner of a tensor, None where it takes the grafted step."""
        if not shape or 0 in shape or max(shape) > self.skip_preconditioning_dim_size_gt:
            return None
        return Preconditioner(
            merged_shape(shape, self.merge_small_dims_block_size),
            self.block_size,
            self.b2,
            self.matrix_epsilon,
            self.preconditioning_compute_steps,
        )

    def init(self, params: optax.Params) -> ShampooState:
        """Empty statistics and momenta."""
        leaves, treedef = jax.tree.flatten(params)
        found = [self.preconditioner(jnp.shape(p)) for p in leaves]
        matrices = [((), ()) if p is None else p.init() for p in found]
        summed = self.graft not in ("sgd", "sqrt_n")
        sums = [jnp.zeros_like(p) if summed else () for p in leaves]
        return ShampooState(
            count=jnp.zeros([], jnp.int32),
            statistics=treedef.unflatten([statistics for statistics, _ in matrices]),
            roots=treedef.unflatten([roots for _, roots in matrices]),
            accumulator=treedef.unflatten(sums),
            momentum=optax.tree.zeros_like(params),
            graft_momentum=optax.tree.zeros_like(params),
        )

    def grafted(self, g: Array, accumulator: Array | tuple[()]) -> tuple[Array, Array | tuple[()]]:
        """The step whose length is taken, and the sum or average after it."""
        if isinstance(accumulator, tuple):
            return (jnp.sign(g) if self.graft == "sqrt_n" else g), ()
        if self.graft.endswith("normalized"):
            norm = _norm(g)
            g = g / jnp.where(norm == 0.0, 1.0, norm)
        if self.graft.startswith("adagrad"):
            accumulator = accumulator + jnp.square(g)
        else:
            weight = jnp.where(self.b2 == 1.0, 1.0, 1.0 - self.b2)
            accumulator = self.b2 * accumulator + weight * jnp.square(g)
        return g / (jnp.sqrt(accumulator) + self.diagonal_epsilon), accumulator

    def direction(
        self, count: Array, g: Array, step: Array, statistics: Matrices, roots: Matrices
    ) -> tuple[Array, Matrices, Matrices]:
        """The preconditioned gradient with the norm of the grafted step, and the new matrices."""
        preconditioner = self.preconditioner(g.shape)
        if preconditioner is None:
            return step, (), ()
        statistics = preconditioner.accumulate(g, statistics)
        roots = preconditioner.refresh(count, statistics, roots)
        u = preconditioner.apply(g, roots)
        norm = _norm(u)
        return u / jnp.where(norm == 0.0, 1.0, norm) * _norm(step), statistics, roots

    def update_leaf(
        self, count: Array, decay: Array | float, g: Array, *state: Any
    ) -> tuple[Array, Matrices, Matrices, Array | tuple[()], Array, Array]:
        """The update of one tensor and its new state, in the order of `ShampooState`."""
        statistics, roots, accumulator, momentum, graft_momentum = state
        graft, accumulator = self.grafted(g, accumulator)
        shampoo, statistics, roots = self.direction(count, g, graft, statistics, roots)
        shampoo, graft = shampoo + decay, graft + decay
        momentum = self.b1 * momentum + shampoo
        graft_momentum = self.b1 * graft_momentum + graft
        started = count >= self.start_preconditioning_step
        update = jnp.where(started, momentum, graft_momentum)
        if self.nesterov:
            update = jnp.where(started, shampoo, graft) + self.b1 * update
        return update, statistics, roots, accumulator, momentum, graft_momentum

    def update(
        self, updates: Any, state: Any, params: optax.Params | None = None
    ) -> tuple[Any, ShampooState]:
        """One step on every tensor."""
        leaves, treedef = jax.tree.flatten(updates)
        decays: list[Any] = [0.0] * len(leaves)
        if isinstance(self.weight_decay, Array) or self.weight_decay != 0.0:
            if params is None:
                raise ValueError("update needs params= when weight_decay is not 0")
            decays = [self.weight_decay * p for p in treedef.flatten_up_to(params)]
        columns = [treedef.flatten_up_to(tree) for tree in state[1:]]
        rows = [self.update_leaf(state.count, *leaf) for leaf in zip(decays, leaves, *columns, strict=True)]
        trees = [treedef.unflatten([row[i] for row in rows]) for i in range(len(state))]
        return trees[0], ShampooState(jnp.asarray(optax.safe_increment(state.count)), *trees[1:])

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation; its updates still await the factor ``-learning_rate``."""
        return optax.GradientTransformation(self.init, self.update)


def _shampoo(learning_rate: Rate, **options: Any) -> Transformation:
    direction = Shampoo(**options).transformation()
    return in_auto_mode(optax.chain(direction, optax.scale_by_learning_rate(learning_rate)))


shampoo = from_optax(
    _shampoo,
    typing.get_type_hints(Shampoo, include_extras=True),
    **{field.name: field.default for field in dataclasses.fields(Shampoo)},
)
"""`Shampoo` with a learning rate. optax has none."""
