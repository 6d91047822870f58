"""Celo2 and Celo2-base (arXiv 2602.19142): an MLP gives directions, the learning rate their size."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import averages, checks, features, mlp, pallas, parameters, paths, tensors
from celo._core.averages import Decays, PyTree, TensorStatistics
from celo._core.newton_schulz import orthogonalise
from celo._core.normalisers import inverse_rms, two_passes
from celo.baselines import contract
from celo.learned.base import Learned, Theta, check_theta, transformation

DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.95, factored=(0.9, 0.99, 0.999))
MLP_SIZES = (features.NUM_FEATURES, 8, 8, 3)
GRADIENT_CLIP = 1000.0
VECTOR_FEATURES = 15
EPSILON_FEATURES = 1e-8
EPSILON_RMS = 1e-9
LEARNING_RATE = 0.001

ADAM_B1 = 0.9
ADAM_B2 = 0.95
ADAM_EPSILON = 1e-8
ADAM_MULTIPLIER = 20.0


class DirectionState(NamedTuple):
    """State of `scale_by_celo2`: running averages of the gradient."""

    statistics: TensorStatistics


class AdamState(NamedTuple):
    """State of `scale_by_uncorrected_adam`: first and second moments, float32."""

    m: PyTree
    v: PyTree


def _inverse_rms(x: Array) -> Array:
    """``rsqrt(1e-9 + mean(x^2))`` over the last two axes or all there are, which stay with size 1."""
    axes = tuple(range(max(0, x.ndim - 2), x.ndim))
    return jax.lax.rsqrt(EPSILON_RMS + jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def _plain(
    theta: mlp.Weights, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    """The MLP's first output at every parameter, and new running averages."""
    p, g = jnp.asarray(p, jnp.float32), parameters.bounded(g, GRADIENT_CLIP)
    statistics = averages.update(statistics, g, DECAYS)

    def seen(*arrays: Any) -> list[Array]:
        return features.celo_features(*arrays, epsilon=EPSILON_FEATURES)[: len(theta["w0"])]

    if g.ndim <= 2:  # one normaliser per feature, which then costs nothing per parameter
        normalise = functools.partial(inverse_rms, epsilon=EPSILON_RMS)
        inputs, scales = two_passes(seen, normalise, g, p, *statistics)
    else:
        inputs, roots = two_passes(seen, lambda xs: [_inverse_rms(x) for x in xs], g, p, *statistics)
        inputs, scales = [x * r for x, r in zip(inputs, roots, strict=True)], None
    return mlp.apply(theta, inputs, scales, outputs=1)[0], statistics


def _in_kernels(
    theta: mlp.Weights, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    return pallas.step(ELEMENTS, DECAYS, theta, p, g, statistics)[:2]


ELEMENTS = pallas.ElementRule(
    bound=functools.partial(parameters.bounded, limit=GRADIENT_CLIP),
    head=functools.partial(features.celo_head, epsilon=EPSILON_FEATURES),
    finish=lambda outputs, *arrays: outputs[0],
    outputs=1,
    epsilon=EPSILON_RMS,
    shown=False,
)


def step_tensor(
    theta: mlp.Weights, orthogonal: bool, kernels: str, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    """Direction and new running averages of one tensor.

    The direction is the MLP's first output, of root mean square 1 over the last two axes. The 30 features are
    Celo's, each normalised over the last two axes. A tensor of rank below 2, which has no rows and columns,
    shows the MLP only the first 15.

    Args:
        theta: weights of the MLP, 30 -> 8 -> 8 -> 3; only the first output is used.
        orthogonal: whether the matrices of a tensor of rank 2 and more are orthogonalised first.
        kernels: "plain" or "pallas"; from rank 3 on, with normalisers for each matrix, the form is plain.
        p: parameters before the step, any dtype.
        g: gradient, any dtype.
        statistics: running averages before the step.
    """
    rank = jnp.ndim(p)
    shown = VECTOR_FEATURES if rank < 2 else features.NUM_FEATURES
    theta = {**theta, "w0": theta["w0"][:shown]}
    form = kernels if rank <= 2 else "plain"
    out, statistics = pallas.by_platform(form, _plain, _in_kernels, theta, p, g, statistics)
    if orthogonal and rank >= 2:
        out = orthogonalise(out)
    out = jax.lax.optimization_barrier(out)  # else the network runs once more for the root mean square
    return out * _inverse_rms(out), statistics


def scale_by_celo2(
    theta: Theta, orthogonal: bool, kernels: str = "plain"
) -> optax.GradientTransformationExtraArgs:
    """Gradients, clipped to +-1000, to steps of RMS 1 downhill, to be scaled by a positive rate."""
    rule = functools.partial(step_tensor, theta["mlp"], orthogonal, kernels)

    def init(params: PyTree) -> PyTree:
        return DirectionState(averages.init(params))

    def step(
        grads: PyTree, state: DirectionState, params: PyTree, loss: None
    ) -> tuple[PyTree, DirectionState]:
        del loss
        steps, statistics = tensors.map_statistics(rule, params, grads, state.statistics)
        return steps, DirectionState(statistics)

    return transformation(init, step)


def scale_by_uncorrected_adam() -> optax.GradientTransformationExtraArgs:
    """``-m rsqrt(v + 1e-8)`` with decays 0.9 and 0.95, and no bias correction."""

    def rule(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
        del p
        g = parameters.bounded(g)
        m, v = averages.average(m, g, ADAM_B1), averages.average(v, jnp.square(g), ADAM_B2)
        return m * jax.lax.rsqrt(v + ADAM_EPSILON), m, v

    def init(params: PyTree) -> PyTree:
        zeros = averages.zeros_like(params)
        return AdamState(zeros, zeros)

    def step(grads: PyTree, state: AdamState, params: PyTree, loss: None) -> tuple[PyTree, AdamState]:
        del loss
        steps, m, v = tensors.map_tensors(3, rule, params, grads, state.m, state.v)
        return steps, AdamState(m, v)

    return transformation(init, step)


def _with_rate(
    steps: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float | Array,
    factor: float = 1.0,
) -> optax.GradientTransformation:
    """``p <- p + factor lr (step - weight_decay p)`` from steps downhill."""
    rate = (
        (lambda count: factor * learning_rate(count)) if callable(learning_rate) else factor * learning_rate
    )
    return optax.chain(
        steps,
        optax.add_decayed_weights(-weight_decay),
        optax.scale_by_learning_rate(rate, flip_sign=False),
    )


@dataclasses.dataclass(frozen=True)
class Celo2Base(Learned):
    """One MLP, 30 -> 8 -> 8 -> 3, gives every parameter its direction; the learning rate is the user's.

    ``p <- p - lr (d / rms(d) + weight_decay p)``, the root mean square taken over the last two axes. It reads
    neither the loss nor the horizon.
    """

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ...}``, float32, 347 numbers."""
        return {"mlp": mlp.init(key, MLP_SIZES)}

    def optimizer(
        self,
        theta: Theta,
        num_steps: float | Array,
        learning_rate: optax.ScalarOrSchedule = LEARNING_RATE,
        weight_decay: checks.NonNegative = 0.0,
        kernels: str = "plain",
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, but not used: the rate has
                a separate schedule.
            learning_rate: a number, traced or not, or an optax schedule; meta-training uses the default.
            weight_decay: decoupled; multiplied by the learning rate, for the parameters that take Adam by 20
                times it.
            kernels: "plain" or "pallas", as for `celo.learned.base.WithKernels.optimizer`.

        Returns:
            An optax transformation; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit, or a number is out of range; by ``update``, without parameters.
            TypeError: for a num_steps or a learning_rate that is no number.
            ImportError: if this JAX is too old for the kernels.
        """
        check_theta(self, theta)
        checks.check_num_steps(num_steps)
        checks.check_learning_rate(learning_rate)
        checks.check_options(Celo2Base.optimizer, {"weight_decay": weight_decay})
        pallas.check_kernels(kernels)
        return contract.in_float32(self._rated(theta, learning_rate, weight_decay, kernels))

    def _rated(
        self, theta: Theta, learning_rate: Any, weight_decay: Any, kernels: str
    ) -> optax.GradientTransformation:
        return _with_rate(scale_by_celo2(theta, False, kernels), learning_rate, weight_decay)


@dataclasses.dataclass(frozen=True)
class Celo2(Celo2Base):
    """Hidden matrices take the learned rule, orthogonalised; embeddings, heads and vectors take Adam.

    ``p <- p - lr (d / rms(d) + weight_decay p)`` with d the direction of Celo2-base, made orthogonal from
    rank 2 on (`orthogonalise`); Adam: ``p <- p - 20 lr (m rsqrt(v + 1e-8) + weight_decay p)``. It reads
    neither the loss nor the horizon. ``celo.routing("celo2", params)`` shows the rule of each parameter.

    Attributes:
        adam_paths: which parameters take Adam, and no others: globs separated by ``|``, each compared with
            the whole path (keys joined by ``/``), or, if it has no ``/``, with each key; "" matches none.
            None, the default: those of rank below 2 and those named like an embedding or a head
            (`celo._core.paths.kind`).
    """

    adam_paths: str | None = None

    def __post_init__(self) -> None:
        """Checks the configuration."""
        if self.adam_paths is not None:
            paths.check_patterns("adam_paths", self.adam_paths)

    def routes(self, params: PyTree) -> PyTree:
        """Rule and reason of each parameter, ``("adam", "head")``, in a tree like ``params``."""

        def route(path: tuple[Any, ...], p: Any) -> tuple[str, str]:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if self.adam_paths is not None:
                matched = paths.matches(name, self.adam_paths)
                return ("adam", "adam_paths") if matched else ("learned", "not in adam_paths")
            if jnp.ndim(p) < 2:
                return "adam", "rank below 2"
            kind = paths.kind(name)
            return ("adam", kind) if kind else ("learned", "hidden matrix")

        return jax.tree_util.tree_map_with_path(route, params)

    def labels(self, params: PyTree) -> PyTree:
        """Which rule each parameter takes: "adam" or "learned", in a tree like ``params``."""
        return jax.tree.map(lambda route: route[0], self.routes(params), is_leaf=_is_route)

    def _rated(
        self, theta: Theta, learning_rate: Any, weight_decay: Any, kernels: str
    ) -> optax.GradientTransformation:
        learned, adam = scale_by_celo2(theta, True, kernels), scale_by_uncorrected_adam()
        halves: dict[Hashable, optax.GradientTransformation] = {
            "learned": _with_rate(learned, learning_rate, weight_decay),
            "adam": _with_rate(adam, learning_rate, weight_decay, ADAM_MULTIPLIER),
        }
        both = optax.partition(halves, self.labels)

        def init(params: PyTree) -> Any:
            reasons = {route[1] for route in jax.tree.leaves(self.routes(params), is_leaf=_is_route)}
            if "hidden matrix" in reasons and not reasons & {paths.EMBEDDING, paths.HEAD}:
                warn_unrecognised()
            return both.init(params)

        return optax.GradientTransformationExtraArgs(init, both.update)


def _is_route(x: Any) -> bool:
    return type(x) is tuple and len(x) == 2 and all(isinstance(part, str) for part in x)


@functools.cache
def warn_unrecognised() -> None:
    """Warns once that Celo2 recognises neither an embedding nor a head."""
    warnings.warn(
        "celo2 recognises no embedding and no head by name: every matrix takes the learned rule. "
        "celo.routing('celo2', params) shows the rule of each parameter; adam_paths='wte|*/out|*bias' "
        "names those for Adam",
        stacklevel=2,
    )
