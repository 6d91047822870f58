"""The contract every optimizer keeps, learned or hand-designed: one table of optimizers, one test per clause.

To put an optimizer under the contract, add a `Row` to `ROWS`. A row that costs much and is made of the parts
of another is left to `make test-all`, but for the clauses that are only traced: see `STAND_INS`. Every update
is given ``value=`` and an argument no optimizer knows, as an ordinary training loop would. Clauses that need
numbers share two compiled steps per row; those about structure and dtypes are only traced.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from celo import HAND_DESIGNED, LEARNED, eval_params, hand_designed, learned_optimizer
from tests.double_precision import double_by_default

Tree = Any

LOSS = np.float32(0.7)

# What is compiled here runs a few times on a few numbers: half the time to compile is worth more than speed.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@dataclasses.dataclass(frozen=True)
class Row:
    """One optimizer under the contract.

    Attributes:
        name: how tests call it.
        build: the optimizer, from an argument called ``learning_rate``; one without it ignores that.
        learning_rate: a rate at which it solves the quadratic of `test_converges`; None for an optimizer that
            promises no such thing, like a learned one with random meta-parameters.
    """

    name: str
    build: Callable[..., optax.GradientTransformationExtraArgs]
    learning_rate: float | None

    @property
    def rate(self) -> float:
        return 0.01 if self.learning_rate is None else self.learning_rate


_RATES = {"fromage": 0.1, "lars": 30.0, "muon": 0.03, "sgd": 0.3, "adagrad": 1.0, "sm3": 0.3}
HAND_DESIGNED_ROWS = [
    Row(name, functools.partial(hand_designed, name), _RATES.get(name, 0.1)) for name in HAND_DESIGNED
]


def learned_row(name: str, **config: Any) -> Row:
    """A learned optimizer with random meta-parameters."""

    @functools.cache
    def theta() -> Tree:
        return quick_jit(learned_optimizer(name, **config).init)(jax.random.key(0))

    def build(learning_rate: Any) -> optax.GradientTransformationExtraArgs:
        del learning_rate
        return learned_optimizer(name, **config).optimizer(theta(), num_steps=100)

    return Row("-".join([name, *(f"{field}_{value}" for field, value in config.items())]), build, None)


LEARNED_ROWS = [
    *map(learned_row, LEARNED),
    learned_row("celo", stage=1),
    learned_row("celo", tensor_features=True),
]
ROWS = [*HAND_DESIGNED_ROWS, *LEARNED_ROWS]

# Rows that take seconds to trace and compile, and the quicker one of the same parts that `make test` has.
STAND_INS = {
    "velo": "velo_s",
    "rnn_mlp": "mlp_lopt",
    "star": "adafac_mlp",
    "celo2": "celo2_base",
    "celo-stage_1": "celo",
    "celo-tensor_features_True": "velo_s",
    "shampoo_adagrad": "shampoo_sgd",
}
# Clauses that compile nothing of weight: every row keeps them, always.
TRACED = ("empty", "control-flow", "half-precision", "double-precision")

CLAUSES: set[str] = set()


def over_rows(clause: str, only: Callable[[Row], bool] = lambda row: True) -> pytest.MarkDecorator:
    """Parametrises a test over the rows; a costly row is slow."""
    CLAUSES.add(clause)
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


@functools.cache
def compiled(row: Row) -> Any:
    """The row's update, compiled; it owns and reuses the buffers of the state."""
    return quick_jit(functools.partial(step, row.build(learning_rate=row.rate)), donate_argnums=1)


@functools.cache
def reference(row: Row) -> Any:
    """The row's update, compiled, which leaves its arguments alone: what every other way is compared with."""
    return quick_jit(functools.partial(step, row.build(learning_rate=row.rate)))


def describe(tree: Tree) -> Tree:
    """Structure, shapes and dtypes."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def assert_close(actual: Tree, expected: Tree, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(e), rtol=rtol, atol=1e-7)


@over_rows("compiles-once")
def test_one_compilation_serves_all_steps(row: Row):
    update, params, state = compiled(row), mixed(), row.build(learning_rate=row.rate).init(mixed())
    before = describe(state)
    updates, state = update(gradients_like(params), state, params)
    compilations = update._cache_size()
    for _ in range(2):
        updates, state = update(gradients_like(params), state, params)
    assert update._cache_size() == compilations == 1
    assert describe(state) == before
    assert describe(updates) == describe(params)
    assert any(np.any(np.asarray(u)) for u in jax.tree.leaves(updates))


def finite_over_steps(row: Row, scale: float) -> bool:
    params = mixed()
    state = row.build(learning_rate=row.rate).init(params)
    finite = True
    for _ in range(8):  # past the warm-up of RAdam and of Shampoo
        updates, state = compiled(row)(gradients_like(params, scale), state, params)
        finite &= all(np.all(np.isfinite(u)) for u in jax.tree.leaves(updates))
    return finite


@over_rows("finite-zero")
def test_finite_for_zero_gradients(row: Row):
    assert finite_over_steps(row, 0.0)


@over_rows("finite-huge")
def test_finite_for_huge_gradients(row: Row):
    assert finite_over_steps(row, 1e30)


@over_rows("finite-tiny")
def test_finite_for_tiny_gradients(row: Row):
    assert finite_over_steps(row, 1e-30)


@over_rows("empty")
def test_takes_a_tree_without_leaves(row: Row):
    optimizer = row.build(learning_rate=row.rate)
    params: Tree = {"nothing": None}
    updates, _ = quick_jit(functools.partial(step, optimizer))(params, optimizer.init(params), params)
    assert updates == params


@over_rows("control-flow")
def test_state_is_stable_through_scan_and_cond(row: Row):
    optimizer = row.build(learning_rate=row.rate)

    def run(params: Tree) -> Tree:
        def body(carry: Tree, skip: Array) -> tuple[Tree, None]:
            params, state = carry
            updates, new = step(optimizer, params, state, params)
            state = jax.lax.cond(skip, lambda: state, lambda: new)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, optimizer.init(params)), jnp.array([True, False]))[0]

    params, state = jax.eval_shape(run, mixed())  # scan and cond refuse a change of structure or dtype
    assert describe(params) == describe(mixed())
    assert describe(state) == describe(jax.eval_shape(optimizer.init, mixed()))


@over_rows("half-precision")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_have_float32_state(row: Row, dtype: Any):
    optimizer = row.build(learning_rate=row.rate)
    params = optax.tree.cast(small(), dtype)
    state = jax.eval_shape(optimizer.init, params)
    updates, new = jax.eval_shape(functools.partial(step, optimizer), params, state, params)
    assert describe(updates) == describe(params)
    assert describe(new) == describe(state)
    assert not any(x.dtype in (jnp.bfloat16, jnp.float16) for x in jax.tree.leaves(state))


@over_rows("double-precision")
def test_types_stay_where_numbers_are_double_by_default(row: Row):
    """With JAX_ENABLE_X64 whatever names no type becomes double, and a scan would refuse the state."""
    with double_by_default(True):
        params, grads = jax.tree.map(np.asarray, (mixed(), gradients_like(mixed())))
        optimizer = row.build(learning_rate=row.rate)
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(functools.partial(step, optimizer), grads, state, params)
    assert describe(after) == describe(state)
    assert describe(updates) == describe(params)


@over_rows("half-precision-values")
def test_half_precision_rounds_only_the_update(row: Row):
    optimizer, update = row.build(learning_rate=row.rate), reference(row)
    params = small()
    updates, _ = update(gradients_like(params), optimizer.init(params), params, LOSS)
    half, half_grads = (optax.tree.cast(tree, jnp.bfloat16) for tree in (params, gradients_like(params)))
    half_updates, _ = update(half_grads, optimizer.init(half), half, LOSS)
    assert_close(optax.tree.cast(half_updates, jnp.float32), updates, rtol=2**-8)


@pytest.mark.lenient(reason="optax.MultiSteps divides by an integer count")
@over_rows("multi-steps")
def test_accumulated_gradients_give_the_step_of_their_mean(row: Row):
    optimizer = row.build(learning_rate=row.rate)
    wrapped = optax.MultiSteps(optimizer, 2)
    params = small()
    grads, other = gradients_like(params), params
    update = quick_jit(functools.partial(wrapped.update, value=jnp.float32(LOSS)))
    first, state = update(grads, wrapped.init(params), params)
    second, _ = update(other, state, params)
    mean = jax.tree.map(lambda a, b: (a + b) / 2.0, grads, other)
    expected, _ = reference(row)(mean, optimizer.init(params), params, LOSS)
    assert_close(first, jax.tree.map(jnp.zeros_like, params))
    assert_close(second, expected)


@over_rows("inject-hyperparams")
def test_an_injected_learning_rate_changes_nothing(row: Row):
    params = small()
    injected = optax.inject_hyperparams(row.build)(learning_rate=row.rate)
    update = quick_jit(functools.partial(step, injected))
    plain_state: Tree = row.build(learning_rate=row.rate).init(params)
    state: Tree = injected.init(params)
    for _ in range(2):
        expected, plain_state = reference(row)(gradients_like(params), plain_state, params, LOSS)
        updates, state = update(gradients_like(params), state, params, LOSS)
        assert_close(updates, expected)
    assert_close(state.inner_state, plain_state)


@over_rows("schedule", only=lambda row: row.learning_rate is not None)
def test_a_constant_schedule_is_the_constant(row: Row):
    params = small()
    constant = row.build(learning_rate=row.rate)
    scheduled = row.build(learning_rate=optax.constant_schedule(row.rate))
    expected, _ = reference(row)(gradients_like(params), constant.init(params), params, LOSS)
    updates, _ = step(scheduled, gradients_like(params), scheduled.init(params), params)
    assert_close(updates, expected)


@over_rows("sharded")
def test_state_follows_the_sharding_of_the_parameters(row: Row):
    mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Auto,))
    placement = {
        "w": NamedSharding(mesh, PartitionSpec("shards")),
        "b": NamedSharding(mesh, PartitionSpec()),
    }
    optimizer = row.build(learning_rate=row.rate)
    params, grads = jax.device_put((small(), gradients_like(small())), (placement, placement))
    state = optimizer.init(params)
    for leaf in (x for x in jax.tree.leaves(state) if x.shape == (4, 3)):
        assert leaf.sharding.is_equivalent_to(placement["w"], 2)
    update = reference(row)
    # Of a loss that stands still a scheduler sees nothing but rounding errors, so it falls.
    *first, last = (LOSS - np.float32(fall) for fall in (0.0, 0.1, 0.2))
    for loss in first:  # the first step places scalars, which init could not
        _, state = update(grads, state, params, loss)
    compilations = update._cache_size()
    placed = jax.tree.map(lambda x: x.sharding, state)
    updates, state = update(grads, state, params, last)
    assert update._cache_size() == compilations
    assert jax.tree.map(lambda x: x.sharding, state) == placed
    for leaf in jax.tree.leaves(updates["w"]) + [x for x in jax.tree.leaves(state) if x.shape == (4, 3)]:
        assert leaf.sharding.is_equivalent_to(placement["w"], 2)

    state, expected = optimizer.init(small()), None
    for loss in (*first, last):
        expected, state = update(gradients_like(small()), state, small(), loss)
    assert_close(updates, expected, rtol=1e-4)


@over_rows("converges", only=lambda row: row.learning_rate is not None)
def test_converges_on_a_quadratic_at_one_of_the_rates_of_one_compiled_run(row: Row):
    target = {"w": ramp((4, 3), 1.0, -0.5), "b": ramp((3,), -0.5, 1.0)}

    def loss(params: Tree) -> Array:
        errors = jax.tree.map(lambda p, t: jnp.sum(jnp.square(p - t)), params, target)
        return 0.5 * jnp.sum(jnp.stack(jax.tree.leaves(errors)))

    def run(learning_rate: Array) -> Array:
        optimizer = row.build(learning_rate=learning_rate)

        def body(carry: Tree, _: None) -> tuple[Tree, None]:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(body, (small(), optimizer.init(small())), length=200)
        return loss(eval_params(state, params))

    losses = jax.jit(jax.vmap(run))(jnp.array([0.0, row.rate]))
    initial = loss(small())
    np.testing.assert_allclose(losses[0], initial, rtol=1e-4)  # a rate of 0 goes nowhere
    assert losses[1] < 0.02 * initial


def test_stand_ins_are_rows_that_are_never_left_out():
    assert STAND_INS.keys() <= {row.name for row in ROWS}
    assert set(STAND_INS.values()) <= {row.name for row in ROWS} - STAND_INS.keys()
    assert set(TRACED) <= CLAUSES
