"""Layouts of upstream's checkpoints: where each leaf of our meta-parameters lies in them.

Upstream are the reference implementations, amoudgl/celo and google/learned_optimization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]

# How the 30 features are grouped: g, clip(g), p, m, v, m r, r, y, g r, row, col, their roots, m rf cf.
FEATURE_GROUPS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Where one leaf comes from.

    Attributes:
        target: path of the leaf in our theta.
        sources: upstream paths; several are concatenated along the axis before the last.
        rows: the size of each source along that axis; empty for a single source.
        leading: whether upstream has an axis of size 1 in front.
        used: False for what upstream computes and discards. It must be present,
            shaped like ``target``, and is not read.
    """

    target: str
    sources: tuple[str, ...]
    rows: tuple[int, ...] = ()
    leading: bool = False
    used: bool = True

    def upstream_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Shape of each source, for a target of this shape."""
        front = (1,) * self.leading
        if not self.rows:
            return {self.sources[0]: front + shape}
        *outer, total, last = shape
        if total != sum(self.rows):
            raise ValueError(f"leaf {self.target} has {total} rows; upstream's groups have {sum(self.rows)}")
        return {
            source: (*front, *outer, rows, last) for source, rows in zip(self.sources, self.rows, strict=True)
        }

    def read(self, flat: Arrays, shape: Shape) -> np.ndarray:
        """The target, from upstream's arrays."""
        parts = [flat[source] for source in self.sources]
        return (np.concatenate(parts, axis=-2) if self.rows else parts[0]).reshape(shape)

    def write(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Upstream's arrays, from the target; zeros for what upstream discards."""
        array = array.reshape((1,) * self.leading + array.shape)
        if not self.used:
            array = np.zeros_like(array)
        parts = np.split(array, np.cumsum(self.rows)[:-1], axis=-2) if self.rows else [array]
        return dict(zip(self.sources, parts, strict=True))


Layout = tuple[Leaf, ...]


def _copy(target: str, source: str) -> Leaf:
    """A leaf that upstream has in the same shape."""
    return Leaf(target, (source,))


def _squeeze(target: str, source: str) -> Leaf:
    """A leaf to which upstream adds a leading axis of size 1."""
    return Leaf(target, (source,), leading=True)


def _linear(target: str, source: str) -> Layout:
    """Weight and bias of a linear layer."""
    return tuple(_copy(f"{target}/{part}", f"{source}/{part}") for part in ("w", "b"))


def _unused_linear(source: str, like: str) -> Layout:
    """Weight and bias of an upstream layer that influences nothing, shaped like our layer ``like``."""
    return tuple(Leaf(f"{like}/{part}", (f"{source}/{part}",), used=False) for part in ("w", "b"))


def _layers(target: str, prefix: str) -> Layout:
    """An MLP of three layers, which upstream names ``prefix0/w``, ``prefix0/b``, ``prefix1/w``, ..."""
    return tuple(_copy(f"{target}/{part}{i}", f"{prefix}{i}/{part}") for i in range(3) for part in "wb")


def _grouped_mlp(target: str, leading: bool = False) -> Layout:
    """Celo's MLP or bank: upstream has one matrix per feature group in the first layer."""
    prefix = "ff_mod_stack/~/"
    first = tuple(f"{prefix}w0__{i}" for i in range(len(FEATURE_GROUPS)))
    others = ((f"{target}/{name}", f"{prefix}{name}") for name in ("b0", "w1", "b1", "w2", "b2"))
    leaf = _squeeze if leading else _copy
    return Leaf(f"{target}/w0", first, FEATURE_GROUPS, leading), *(leaf(*pair) for pair in others)


_INITIAL: Layout = (
    _squeeze("initial/hidden", "lstm_init_state/hidden"),
    _squeeze("initial/cell", "lstm_init_state/cell"),
)
_SCHEDULER: Layout = (
    *_unused_linear("rnn_params/linear", like="scheduler/mix_relu"),
    *_linear("scheduler/mix_relu", "rnn_params/linear_1"),
    *_linear("scheduler/mix_linear", "rnn_params/linear_2"),
    *_linear("scheduler/lstm", "rnn_params/rnn/linear"),
    *_linear("scheduler/step_size", "rnn_params/step_size"),
    *(dataclasses.replace(leaf, target=f"scheduler/{leaf.target}") for leaf in _INITIAL),
)
_VELO: Layout = (
    *_grouped_mlp("bank"),
    *_SCHEDULER,
    *_linear("controls", "rnn_params/rnn_to_controls"),
)
_SMALL_MLP: Layout = (
    *(_copy(f"mlp/{name}", f"nn/~/{name}") for name in ("w0", "b0", "w1", "b1", "w2", "b2")),
    _copy("decays/momenta", "momentum_decays"),
    _copy("decays/v", "rms_decays"),
    _copy("decays/factored", "adafactor_decays"),
)
_LEARNING_RATE: Layout = (_copy("log_learning_rate", "log_lr"),)

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "celo": (
            *_grouped_mlp("mlp", leading=True),
            *_SCHEDULER,
            *_unused_linear("rnn_params/rnn_to_controls", like="scheduler/step_size"),
        ),
        "celo_adam": _SCHEDULER,
        "velo": _VELO,
        "velo_s": _VELO,
        "adafac_mlp": _SMALL_MLP,
        "mlp_lopt": _layers("mlp", "mlp/~/linear_"),
        "nn_adam": (
            *_linear("lstm", "rnn_params/rnn/linear"),
            *_INITIAL,
            *_linear("controls", "rnn_to_controls_params/rnn_to_controls"),
            _copy("hyperparameters/learning_rate", "per_layer_lr"),
            _copy("hyperparameters/b1", "per_layer_beta1"),
            _copy("hyperparameters/b2", "per_layer_beta2"),
            _copy("hyperparameters/epsilon", "per_layer_epsilon"),
        ),
        "rnn_mlp": (
            *_layers("mlp", "ffmod_params/mlp/~/linear_"),
            *_linear("lstm", "rnn_params/rnn/linear"),
            *_INITIAL,
            *_linear("to_mlp", "rnn_to_ff_params/rnn_to_ff"),
            *_linear("to_lstm", "rnn_to_in_params/rnn_to_in"),
            _copy("from_mlp", "initial_from_mlp"),
            _copy("from_lstm", "initial_from_lstm"),
        ),
        "celo2": _grouped_mlp("mlp"),
        "celo2_base": _grouped_mlp("mlp"),
        "star": _SMALL_MLP,
        "learnable_adam": (
            *_LEARNING_RATE,
            _copy("log_one_minus_b1", "one_minus_beta1"),
            _copy("log_one_minus_b2", "one_minus_beta2"),
            _copy("log_epsilon", "log_epsilon"),
        ),
        "learnable_sgd": _LEARNING_RATE,
        "learnable_sgdm": (*_LEARNING_RATE, _copy("log_one_minus_momentum", "one_minus_momentum")),
    }
)
"""Name of a learned optimizer to its upstream layout; read-only."""
