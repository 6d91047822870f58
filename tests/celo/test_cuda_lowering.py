"""What is lowered for CUDA, without a GPU: the operations of one update, before XLA optimises them."""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import export

from celo import learned_optimizer
from celo._core import normalisers
from tests.celo.contract import LearnedRow, Tree, over_rows, step

LARGE = {"large": (128, 256)}


def lowered(optimizer: optax.GradientTransformationExtraArgs, shapes: dict[str, tuple[int, ...]]) -> str:
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    state: Tree = jax.eval_shape(optimizer.init, params)
    update = jax.jit(functools.partial(step, optimizer))
    return export.export(update, platforms=("cuda",))(params, state, params).mlir_module()


def calls(text: str) -> set[str]:
    return set(re.findall(r"stablehlo\.custom_call @([\w.$]+)", text))


def reductions(text: str) -> int:
    return len(re.findall(r"stablehlo\.reduce\b", text))


@over_rows("cuda", only=lambda row: row.learning_rate is None)
def test_lowers_for_cuda_without_custom_calls(row: LearnedRow):
    text = lowered(row.build(learning_rate=row.rate), {"w": (8, 4), "v": (8, 4), "b": (3,)})
    assert calls(text) == set()


@pytest.mark.parametrize("name", ["celo", "celo2_base", "adafac_mlp", "velo_s"])
def test_a_large_tensor_is_reduced_jointly_and_behind_barriers(name: str, monkeypatch: pytest.MonkeyPatch):
    learned = learned_optimizer(name)
    optimizer = learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), 100)
    text = lowered(optimizer, LARGE)
    assert text.count("stablehlo.optimization_barrier") >= 2  # before either pass
    monkeypatch.setattr(normalisers, "JOINT_SIZE", 1 << 30)
    apart = lowered(optimizer, LARGE)
    # One reduction over runs and one over their sums, in place of one for each feature of the tensor's shape.
    whole = 16 if name == "adafac_mlp" else 18
    assert reductions(apart) - reductions(text) == whole - 2
