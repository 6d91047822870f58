"""The contract every optimizer keeps, learned or hand-designed: one table of optimizers for every clause.

The clauses are the tests of the files ``test_contract_*.py``. To put an optimizer under the contract, add a
`Row` to `ROWS`. A row that costs much and is made of the parts of another is left to `make test-all`, but for
the clauses that are only traced: see `STAND_INS`. Every update is given ``value=`` and an argument no
optimizer knows, as an ordinary training loop would. Clauses that need numbers share a compiled step per row
and file; those about structure and dtypes are only traced.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from jax.experimental.pallas import triton

from celo import HAND_DESIGNED, LEARNED, hand_designed, learned_optimizer
from celo.baselines.shampoo import GRAFTS

Tree = Any

LOSS = np.float32(0.7)

# What is compiled here runs a few times on a few numbers: half the time to compile is worth more than speed.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

needs_triton = pytest.mark.skipif(
    not hasattr(triton, "load"), reason="this JAX is too old for the kernels: 0.7.1 has what they need"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One optimizer under the contract.

    Attributes:
        name: how tests call it.
        build: the optimizer, from an argument called ``learning_rate``; one without it ignores that.
        learning_rate: a rate at which it solves the quadratic of the clause "converges"; None for an
            optimizer that promises no such thing, like a learned one with random meta-parameters.
    """

    name: str
    build: Callable[..., optax.GradientTransformationExtraArgs]
    learning_rate: float | None

    @property
    def rate(self) -> float:
        return 0.01 if self.learning_rate is None else self.learning_rate


_RATES = {"fromage": 0.1, "lars": 30.0, "muon": 0.03, "sgd": 0.3, "adagrad": 1.0, "sm3": 0.3}
_RATES |= {"adadelta": 10.0, "novograd": 0.01, "sign_sgd": 0.03, "lion": 0.03, "lookahead_radam": 0.3}
_RATES |= {"shampoo_sqrt_n": 0.01, "shampoo_rmsprop_normalized": 0.01, "schedule_free_sgd": 0.3}
_RATES |= {"prodigy": 1.0, "dadapt_adamw": 1.0, "dog": 1.0, "dowg": 0.3, "cocob": 1.0, "polyak_sgd": 0.3}
HAND_DESIGNED_ROWS = [
    Row(name, functools.partial(hand_designed, name), _RATES.get(name, 0.1)) for name in HAND_DESIGNED
]


@dataclasses.dataclass(frozen=True)
class LearnedRow(Row):
    """A learned optimizer with random meta-parameters."""

    learned: Any = None

    @functools.cached_property
    def theta(self) -> Tree:
        return quick_jit(self.learned.init)(jax.random.key(0))


def learned_row(name: str, options: Mapping[str, Any] = MappingProxyType({}), **config: Any) -> LearnedRow:
    def build(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
        del learning_rate
        return row.learned.optimizer(row.theta, num_steps=100, **options)

    title = "-".join([name, *(f"{field}_{value}" for field, value in {**config, **options}.items())])
    row = LearnedRow(title, build, None, learned_optimizer(name, **config))
    return row


LEARNED_ROWS = [
    *map(learned_row, LEARNED),
    learned_row("celo", stage=1),
    learned_row("celo", tensor_features=True),
    learned_row("celo2_auto", orthogonal=True),
    *([learned_row("celo", {"kernels": "pallas"})] if hasattr(triton, "load") else []),
]
ROWS = [*HAND_DESIGNED_ROWS, *LEARNED_ROWS]

# Rows that take seconds to trace and compile, and the quicker one of the same parts that `make test` has.
STAND_INS = {
    "velo": "velo_s",
    "rnn_mlp": "mlp_lopt",
    "star": "adafac_mlp",
    "celo2": "celo2_base",
    "celo2_auto": "celo2_base",
    "celo-stage_1": "celo",
    "celo-tensor_features_True": "velo_s",
    "celo-kernels_pallas": "celo",
    **{f"shampoo_{graft}": "shampoo_sgd" for graft in GRAFTS if graft != "sgd"},
    "lookahead_radam": "lookahead_sgdm",
    "schedule_free_sgd": "schedule_free_adamw",
    "dadapt_adamw": "prodigy",
    "dowg": "dog",
    "momo_adam": "momo",
    "celo2_auto-orthogonal_True": "celo2_base",
}
# Clauses that compile nothing of weight: every row keeps them, always.
TRACED = (
    *("empty", "control-flow", "half-precision", "double-precision"),
    *("integers", "shapes", "explicit-mesh", "scalar-loss"),
)


def over_rows(clause: str, only: Callable[[Row], bool] = lambda row: True) -> pytest.MarkDecorator:
    """Parametrises a test over the rows; a costly row is slow."""
    params = []
    for row in filter(only, ROWS):
        marks = [pytest.mark.slow] if row.name in STAND_INS and clause not in TRACED else []
        params.append(pytest.param(row, id=row.name, marks=marks))
    return pytest.mark.parametrize("row", params)


def ramp(shape: tuple[int, ...], start: float, stop: float) -> Array:
    """An array of that shape without equal entries."""
    return jnp.asarray(np.linspace(start, stop, int(np.prod(shape)), dtype=np.float32).reshape(shape))


def mixed() -> Tree:
    """Parameters of every rank from 0 to 5, with a hole."""
    return {
        "scalar": ramp((), 0.5, 0.5),
        "vector": ramp((3,), -1.0, 1.0),
        "nothing": None,
        "nested": (ramp((4, 3), -1.0, 2.0), [ramp((2, 1, 2), 0.5, 1.0), ramp((2, 1, 2, 1), -1.0, 1.0)]),
        "five": ramp((1, 2, 1, 2, 1), -2.0, -1.0),
    }


def small() -> Tree:
    """A layer's worth of parameters, exact in bfloat16."""
    return {"w": ramp((4, 3), -1.0, 1.75), "b": ramp((3,), 0.5, 1.0)}


def gradients_like(params: Tree, scale: float = 1.0) -> Tree:
    """Gradients without structure in common with the parameters, exact in bfloat16 at scale 1."""
    return jax.tree.map(lambda p: scale * ramp(p.shape, 2.0, -0.75).astype(p.dtype), params)


def step(
    optimizer: optax.GradientTransformationExtraArgs,
    grads: Tree,
    state: Tree,
    params: Tree,
    loss: Any = LOSS,
) -> Tree:
    """One update with the loss and an argument no optimizer knows."""
    return optimizer.update(grads, state, params, value=jnp.float32(loss), no_optimizer_knows_this=1)


def describe(tree: Tree) -> Tree:
    """Structure, shapes and dtypes."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)
