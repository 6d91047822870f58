"""The guard against the optimizer alone, against Adam alone, and against sums by hand."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo
from celo import guarded, hand_designed
from tests.celo.checkpoint_contents import THETA
from tests.celo.contract import gradients_like, mixed, quick_jit, small
from tests.celo.parameter_builds import learned

Tree = Any

PARAMS = small()
SGD = hand_designed("sgd", 0.5)


def grads_at(step: int) -> Tree:
    """Other gradients at every step."""
    return gradients_like(PARAMS, 0.25 + 0.5 * step)


def run(optimizer: Any, losses: Any, params: Tree = PARAMS) -> tuple[list[Tree], Tree]:
    """Updates and the last state of a compiled training on fixed gradients; the state is donated."""

    @functools.partial(quick_jit, donate_argnums=1)
    def update(grads: Tree, state: Tree, loss: Any) -> Tree:
        return optimizer.update(grads, state, params, value=loss, no_optimizer_knows_this=1)

    state, updates = optimizer.init(params), []
    for step, loss in enumerate(losses):
        found, state = update(gradients_like(params, 0.25 + 0.5 * step), state, jnp.float32(loss))
        updates.append(jax.device_get(found))
    return updates, state


def assert_same(found: Tree, expected: Tree) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", ["celo", "learnable_sgdm"])
def test_an_optimizer_that_keeps_going_is_left_as_it_is(name: str):
    """Bit for bit, with losses that fall, rise by less than the factor, and jump now and then."""
    losses = [2.0, 1.5, 1.0, 4.0, 9.0, 1.1, 9.0, 0.5]
    inner = learned(name)
    expected, expected_state = run(inner, losses, mixed())
    found, state = run(guarded(inner, patience=3), losses, mixed())
    assert_same(found, expected)
    assert_same(state.inner, expected_state)
    assert not state.fallen_back
    np.testing.assert_allclose(state.mean_loss, np.mean([2.0, 1.5, 1.0, 4.0, 1.1, 0.5]), rtol=1e-6)
    if name == "celo":
        assert celo.step_size(state) == celo.step_size(expected_state) != 1.0


@pytest.mark.parametrize(
    ("losses", "since"),
    [
        ([1.0, 0.8, 50.0, 60.0, 70.0, 0.5, 0.5], 4),  # the third in a row
        ([1.0, 0.8, 50.0, 60.0, 0.5, 60.0, 70.0], None),
        ([1.0, 3.9, 3.9, 3.9, 3.9, 3.9, 3.9], None),  # less than 4 times as much
        ([1.0, 0.8, np.nan, 0.5, 0.5, 0.5, 0.5], 2),
        ([np.inf, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5], 0),
        ([-2.0, -2.0, 4.1, 4.1, 4.1, -2.0, -2.0], 4),  # -2 + 3 * 2
        ([-2.0, -2.0, 3.9, 3.9, 3.9, -2.0, -2.0], None),
        ([0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0], 4),
    ],
)
def test_adam_takes_over_with_the_moments_of_the_whole_training(losses: list[float], since: int | None):
    found, state = run(guarded(SGD, patience=3, learning_rate=0.01), losses)
    (plain, _), (adam, _) = run(SGD, losses), run(hand_designed("adam", 0.01), losses)
    border = len(losses) if since is None else since
    assert_same(found[:border], plain[:border])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found[border:], adam[border:])
    assert bool(optax.tree_utils.tree_get(state, "fallen_back")) == (since is not None)


def test_updates_that_are_not_finite_are_not_applied():
    """Neither they nor the gradients that made them leave a trace in Adam."""
    optimizer: Any = guarded(SGD, learning_rate=0.01)
    adam: Any = hand_designed("adam", 0.01)
    state, expected_state = optimizer.init(PARAMS), adam.init(PARAMS)
    bad = {**PARAMS, "b": jnp.asarray([1.0, jnp.inf, jnp.nan])}
    for grads, seen in ((bad, {**bad, "b": jnp.asarray([1.0, 0.0, 0.0])}), (PARAMS, PARAMS)):
        found, state = optimizer.update(grads, state, PARAMS, value=1.0)
        expected, expected_state = adam.update(seen, expected_state, PARAMS)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
    assert state.fallen_back


def test_a_training_that_blows_up_is_brought_back():
    """A rate beyond the stable 2 / curvature: SGD alone goes far away, guarded it comes back."""

    def trained(optimizer: Any) -> Any:
        def body(carry: Tree, _: None) -> tuple[Tree, Any]:
            w, state = carry
            value, grads = jax.value_and_grad(lambda w: 0.5 * jnp.sum(jnp.square(w)))(w)
            updates, state = optimizer.update(grads, state, w, value=value)
            return (optax.apply_updates(w, updates), state), value

        w = jnp.asarray([1.0, -2.0])
        return quick_jit(lambda: jax.lax.scan(body, (w, optimizer.init(w)), length=300))()[1]

    unstable = hand_designed("sgd", 2.2)
    assert trained(unstable)[-1] > 1e15
    losses = trained(guarded(unstable, learning_rate=5.0))
    assert np.max(losses) > 1e3
    assert losses[-1] < 0.1


class Spy:
    """A function of the number of steps, which records that number and what its optimizer is given."""

    def __init__(self) -> None:
        self.steps: Any = None

    def __call__(self, steps: Any) -> Any:
        self.steps = steps

        def update(updates: Tree, state: Tree, params: Tree = None, **extra: Any) -> Tree:
            del params, state
            return updates, extra["value"]

        return optax.GradientTransformationExtraArgs(lambda params: jnp.zeros((), jnp.float32), update)


@pytest.mark.parametrize(
    ("num_steps", "calls", "steps", "traced"),
    [(7, 2, 3, False), (7, 2, 3, True), (5, 2, 2, False), (4, 1, 4, False), (2, 1, 2, True), (9, 3, 3, True)],
)
def test_accumulation_gives_means_to_a_bounded_number_of_steps(
    num_steps: int, calls: int, steps: int, traced: bool
):
    """The optimizer sees the mean of k gradients and losses in every k-th call, and moves in no other."""
    losses = np.asarray([2.0 + 0.1 * i for i in range(num_steps)], np.float32)
    spy = Spy()

    def train(number: Any) -> Any:
        optimizer = guarded(spy, number, most_steps=4)
        inputs = jax.tree.map(lambda *x: jnp.stack(x), *map(grads_at, range(num_steps))), losses

        def body(state: Tree, step: Tree) -> Tree:
            updates, state = optimizer.update(step[0], state, PARAMS, value=step[1])
            return state, (updates, optax.tree_utils.tree_get(state, "inner", filtering=_is_array))

        found = jax.lax.scan(body, optimizer.init(PARAMS), inputs)[1]
        return found, jnp.asarray(spy.steps)

    found, seen = quick_jit(train)(jnp.int32(num_steps)) if traced else train(num_steps)
    assert seen == steps
    for step in range(num_steps):
        updates, loss = jax.tree.map(lambda x, at=step: x[at], found)
        if (step + 1) % calls:
            assert not any(np.any(u) for u in jax.tree.leaves(updates))
            continue
        of_step = range(step + 1 - calls, step + 1)
        mean = gradients_like(PARAMS, float(np.mean([0.25 + 0.5 * i for i in of_step])))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), updates, mean)
        np.testing.assert_allclose(loss, np.mean(losses[list(of_step)]), rtol=1e-6)


def _is_array(path: Any, value: Any) -> bool:
    """The innermost state called so, which is that of the spy."""
    del path
    return isinstance(value, jax.Array)


def test_a_long_training_is_a_short_one_of_celo_on_means():
    """Six calls in three steps: the state and the steps of a celo of horizon three."""
    build = functools.partial(celo.celo, theta=THETA)
    found, state = run(guarded(build, 6, most_steps=3), [2.0, 1.0, 1.5, 1.0, 1.0, 0.5])
    optimizer: Any = build(3)
    expected_state = optimizer.init(PARAMS)
    update = quick_jit(optimizer.update)
    for step, loss in enumerate([1.5, 1.25, 0.75]):
        mean = gradients_like(PARAMS, 0.5 + step)
        expected, expected_state = update(mean, expected_state, PARAMS, value=jnp.float32(loss))
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-9)
        jax.tree.map(close, found[2 * step + 1], expected)
        assert not any(np.any(u) for u in jax.tree.leaves(found[2 * step]))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), state.inner.inner, expected_state)
    assert (state.inner.inner.num_steps, state.inner.inner.count) == (3, 3)


def test_the_default_bound_is_the_longest_of_meta_training():
    for num_steps, steps in ((200_000, 200_000), (200_001, 100_000), (1_000_000, 200_000)):
        spy = Spy()
        guarded(spy, num_steps)
        assert spy.steps == steps


def test_it_works_over_many_trainings_in_half_precision_and_without_parameters():
    """Under vmap over horizons; the state keeps its types, sums of bfloat16 gradients are float32."""
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)

    def train(num_steps: Any) -> Tree:
        optimizer = guarded(lambda n: SGD, num_steps, most_steps=2)
        state = optimizer.init(half)

        def body(state: Tree, _: None) -> Tree:
            return optimizer.update(half, state, half, value=jnp.float32(1.0))[1], None

        return jax.lax.scan(body, state, length=4)[0]

    state: Any = quick_jit(jax.vmap(train))(jnp.asarray([2, 4, 5]))
    np.testing.assert_array_equal(state.calls, [0, 0, 1])
    assert state.grads["w"].dtype == jnp.float32
    optimizer: Any = guarded(lambda n: SGD, 4, most_steps=2)
    assert optimizer.update({}, optimizer.init({}), {}, value=1.0)[0] == {}
    assert optimizer.update(half, optimizer.init(half), value=1.0)[0]["w"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SGD,), {"most_steps": 0}, "most_steps is 0; expected a whole number of at least 1"),
        ((SGD,), {"factor": 1.0}, "factor is 1.0; expected a number above 1"),
        ((SGD,), {"factor": np.nan}, "factor is nan; expected a number above 0"),
        ((SGD,), {"patience": 0}, "patience is 0; expected a whole number"),
        ((SGD,), {"learning_rate": -1.0}, "learning_rate is -1.0; expected a finite number, at least 0"),
        (("celo",), {}, "optimizer is 'celo'; expected an optax transformation, or a function"),
        ((celo.celo,), {}, "give num_steps too"),
        ((SGD, 100), {}, "num_steps is 100 and optimizer a transformation"),
        ((lambda n: SGD, 0), {}, "num_steps is 0; expected a finite number of at least 1"),
        ((lambda n: SGD, 1.5), {}, "num_steps is 1.5; expected a whole number of steps"),
        ((lambda n: n, 5), {}, "optimizer(5) is 5; expected an optax transformation"),
    ],
)
def test_bad_input(arguments: Any, options: Any, message: str):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        guarded(*arguments, **options)


def test_the_loss_is_needed():
    optimizer = guarded(SGD)
    with pytest.raises(ValueError, match=r"this optimizer reads the loss"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
