"""What is lowered for CUDA, without a GPU: the operations of one update, before XLA optimises them."""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import export

from celo import learned_optimizer
from celo._core import normalisers, pallas_kernels
from tests.celo.contract import LearnedRow, Row, Tree, needs_triton, over_rows, step

LARGE = {"large": (128, 256)}
TRITON = "__gpu$xla.gpu.triton"
STABLE = [export.DisabledSafetyCheck.custom_call(TRITON)]


def lowered(
    optimizer: optax.GradientTransformationExtraArgs, shapes: dict[str, tuple[int, ...]], problems: int = 0
) -> str:
    """The module of one update, or of one for each of several problems under ``vmap``."""
    update, lead = functools.partial(step, optimizer), (problems,) * bool(problems)
    params = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    state: Tree = jax.eval_shape(optimizer.init, params)
    if problems:
        update = jax.vmap(update)
        params, state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype), (params, state)
        )
    exported = export.export(jax.jit(update), platforms=("cuda",), disabled_checks=STABLE)
    return exported(params, state, params).mlir_module()


def calls(text: str) -> set[str]:
    return set(re.findall(r"stablehlo\.custom_call @([\w.$]+)", text))


def kernels(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Name and grid of each kernel."""
    found = re.findall(
        r"grid_x = (\d+) : i32, grid_y = (\d+) : i32, grid_z = (\d+) : i32.*?name = \"(\w+)\"", text
    )
    return sorted((name.strip("_"), tuple(map(int, grid))) for *grid, name in found)


def reductions(text: str) -> int:
    return len(re.findall(r"stablehlo\.reduce\b", text))


def plain(row: Row) -> bool:
    return isinstance(row, LearnedRow) and not row.name.endswith("kernels_pallas")


@over_rows("cuda", only=plain)
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


@needs_triton
@pytest.mark.skipif(
    jax.__version_info__ > (0, 10, 2), reason="later JAX compiles Triton while it lowers, which needs a GPU"
)
@pytest.mark.parametrize(
    "name",
    ["celo", "celo2_base", *(pytest.param(name, marks=pytest.mark.slow) for name in ("star", "velo_s"))],
)
def test_kernels_take_two_launches_per_shape(name: str):
    learned: Any = learned_optimizer(name)
    optimizer = learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), 100, kernels="pallas")
    shapes = {**{f"b{i}": (3,) for i in range(5)}, "w": (8, 4), "v": (8, 4), "large": (128, 257)}
    blocks = -(-128 * 257 // pallas_kernels.BLOCK)
    grids = [(1, 2, 1), (1, 5, 1), (blocks, 1, 1)]  # blocks, stacked tensors
    text = lowered(optimizer, shapes)
    assert calls(text) == {TRITON}
    assert kernels(text) == [(f"{n}_kernel", grid) for n in ("first", "second") for grid in grids]
    many = kernels(lowered(optimizer, shapes, problems=7))
    assert [name for name, _ in many] == [name for name, _ in kernels(text)]
    assert {math.prod(grid) for _, grid in many} == {7 * math.prod(grid) for grid in grids}


@needs_triton
def test_kernels_are_for_cuda_alone():
    learned: Any = learned_optimizer("celo", stage=1)
    optimizer = learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), 100, kernels="pallas")
    params = {"w": jnp.ones((8, 4))}
    for platform in ("cpu", "tpu"):
        update = jax.jit(functools.partial(step, optimizer))
        text = export.export(update, platforms=(platform,))(params, optimizer.init(params), params)
        assert not calls(text.mlir_module())
