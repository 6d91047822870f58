"""Hand-designed optimizers: names, defaults, bad input, and equality with optax."""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.baselines import HAND_DESIGNED, hand_designed
from celo.baselines.shampoo import GRAFTS

NAMES = [
    *("adam", "adamw", "nadamw", "radam", "yogi", "adabelief", "lamb", "lars", "rmsprop", "rmsprop_momentum"),
    *("adafactor", "adagrad", "sm3", "sgd", "sgdm", "nesterov", "fromage", "shampoo_sgd", "shampoo_adagrad"),
    *("shampoo_adagrad_normalized", "shampoo_rmsprop", "shampoo_rmsprop_normalized", "shampoo_sqrt_n"),
    *("schedule_free_adamw", "muon", "nadam", "adamax", "amsgrad", "adan", "adopt", "acprop", "ademamix"),
    *("novograd", "adadelta", "sign_sgd", "lion", "lookahead_sgdm", "lookahead_radam", "schedule_free_sgd"),
    *("prodigy", "dadapt_adamw", "dog", "dowg", "cocob", "momo", "momo_adam", "polyak_sgd"),
]
# What fixes a shape or the length of a loop.
SIZES = {"block_size", "merge_small_dims_block_size", "skip_preconditioning_dim_size_gt"}
SIZES |= {"preconditioning_compute_steps", "ns_steps", "min_dim_size_to_factor", "warmup_steps"}
SIZES |= {"sync_period"}
NEED_PARAMETERS = {"adamw", "nadamw", "lamb", "lars", "adafactor", "fromage", "schedule_free_adamw", "muon"}
NEED_PARAMETERS |= {"lion", "novograd", "adadelta", "adan", "acprop", "ademamix", "schedule_free_sgd"}
NEED_PARAMETERS |= {"prodigy", "dadapt_adamw", "dog", "dowg", "cocob", "momo", "momo_adam"}
READ_LOSS = {"momo", "momo_adam", "polyak_sgd"}

OPTAX: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": functools.partial(optax.adam, eps_root=1e-8),
    "adamw": optax.adamw,
    "radam": optax.radam,
    "yogi": optax.yogi,
    "adabelief": optax.adabelief,
    "lamb": optax.lamb,
    "lars": optax.lars,
    "rmsprop": functools.partial(optax.rmsprop, momentum=0.0),
    "rmsprop_momentum": functools.partial(optax.rmsprop, momentum=0.9),
    "adafactor": optax.adafactor,
    "adagrad": optax.adagrad,
    "sm3": optax.sm3,
    "sgd": optax.sgd,
    "sgdm": functools.partial(optax.sgd, momentum=0.9),
    "nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "fromage": optax.fromage,
    "schedule_free_adamw": optax.contrib.schedule_free_adamw,
    "muon": optax.contrib.muon,
    "nadam": optax.nadam,
    "adamax": optax.adamax,
    "amsgrad": optax.amsgrad,
    "adan": optax.adan,
    "adopt": optax.contrib.adopt,
    "acprop": optax.contrib.acprop,
    "ademamix": optax.contrib.ademamix,
    "novograd": optax.novograd,
    "adadelta": optax.adadelta,
    "sign_sgd": optax.sign_sgd,
    "lion": optax.lion,
    "schedule_free_sgd": optax.contrib.schedule_free_sgd,
    "prodigy": optax.contrib.prodigy,
    "dadapt_adamw": optax.contrib.dadapt_adamw,
    "dog": optax.contrib.dog,
    "dowg": optax.contrib.dowg,
    "cocob": optax.contrib.cocob,
    "momo": optax.contrib.momo,
    "momo_adam": optax.contrib.momo_adam,
    "polyak_sgd": lambda rate: optax.polyak_sgd(scaling=rate),
}

# Their names in the published runs, and how those spell options otherwise.
BETAS = {"beta1": "b1", "beta2": "b2"}
PUBLISHED: dict[str, tuple[str, dict[str, str]]] = {
    "adam": ("Adam", {**BETAS, "epsilon": "eps", "epsilon_root": "eps_root"}),
    "nadamw": ("NAdamW", {**BETAS, "epsilon": "eps", "use_nesterov": "nesterov"}),
    "rmsprop": ("RMSProp", {"epsilon": "eps"}),
    **{f"shampoo_{graft}": ("Shampoo", BETAS) for graft in GRAFTS},
}
SAME = (
    "AdamW",
    "RAdam",
    "Yogi",
    "AdaBelief",
    "Lamb",
    "Lars",
    "Adafactor",
    "AdaGrad",
    "SM3",
    "SGD",
    "Fromage",
)
PUBLISHED |= {name.lower(): (name, {}) for name in SAME}
NOT_OPTIONS = {
    *("learning_rate", "note", "update", "quirk"),
    "min_norm",  # of LARS, accepted and not used
    "use_bias_correction",  # always on
    "statistics_compute_steps",  # every step
    *("exponent_override", "inverse_failure_threshold"),  # of an iteration that is not used here
    *("moving_average_for_momentum", "clip_by_scaled_gradient_norm"),
    "best_effort_shape_interpretation",  # on, as merge_small_dims_block_size
    "graft_type",  # in the name
}


def params() -> Any:
    return {"w": jnp.linspace(-1.0, 2.0, 12).reshape(4, 3), "b": jnp.linspace(0.5, 1.0, 3)}


def gradients(step: int) -> Any:
    return jax.tree.map(lambda p: jnp.cos(7.0 * p + step), params())


def run(optimizer: optax.GradientTransformation, steps: int = 3) -> list[Any]:
    optimizer = optax.with_extra_args_support(optimizer)
    state, updates = optimizer.init(params()), []
    for i in range(steps):
        update, state = optimizer.update(gradients(i), state, params(), value=jnp.float32(3.0 - i))
        updates.append(update)
    return updates


def test_the_names_are_fixed():
    assert list(HAND_DESIGNED) == NAMES


@pytest.mark.lenient(reason="optax raises float decays to integer counts")
@pytest.mark.parametrize("name", OPTAX)
def test_equals_optax_bit_for_bit(name: str):
    for ours, theirs in zip(run(hand_designed(name, 0.1)), run(OPTAX[name](0.1)), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_those_of_the_published_runs(name: str, shared_path: Callable[[str], Path]):
    facts = json.loads(shared_path("facts/hparam_sets.json").read_text())["optimizer_defaults"]
    published, spelling = PUBLISHED[name]
    expected: dict[str, Any] = {
        str(spelling.get(k, k)): v for k, v in facts[published].items() if k not in NOT_OPTIONS
    }
    if name == "rmsprop":
        expected["momentum"] = None  # 0 there: the same update, bit for bit, see above
    if name.startswith("shampoo"):
        expected["block_size"] = 128
    signature = inspect.signature(HAND_DESIGNED[name]).parameters
    assert {option: signature[option].default for option in expected} == expected


def test_sm3_takes_scalars_and_its_second_decay():
    optimizer: Any = hand_designed("sm3", 1.0, momentum=0.0, b2=0.5, eps=0.0)
    state = optimizer.init(jnp.float32(0.0))
    accumulator = 0.0
    for g in (2.0, 1.0):
        update, state = optimizer.update(jnp.float32(g), state, jnp.float32(0.0))
        accumulator = 0.5 * g**2 + 0.5 * accumulator
        assert update.shape == ()
        np.testing.assert_allclose(update, -g / np.sqrt(accumulator), rtol=1e-6)


@pytest.mark.lenient(reason="optax raises float decays to integer counts")
def test_muon_gives_other_ranks_than_2_to_adam():
    ours, theirs = run(hand_designed("muon", 0.1)), run(optax.nadam(0.1))
    for mine, adam in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine["b"], adam["b"], rtol=1e-6)
        assert not np.allclose(mine["w"], adam["w"])


@pytest.mark.parametrize("name", NAMES)
def test_every_number_but_sizes_can_be_injected(name: str):
    parameters = inspect.signature(HAND_DESIGNED[name]).parameters
    static = sorted(SIZES & set(parameters)) + (["b2"] if name == "sm3" else [])
    injected = optax.inject_hyperparams(HAND_DESIGNED[name], static_args=static)(learning_rate=0.1)
    numbers = {n for n, p in parameters.items() if type(p.default) in (int, float) and n not in static}
    state: Any = injected.init(params())
    assert set(state.hyperparams) == numbers | {"learning_rate"}
    for ours, theirs in zip(run(injected, 2), run(hand_designed(name, 0.1), 2), strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), ours, theirs)


def test_half_precision_hyperparameters_are_widened():
    rate = jnp.asarray(0.5, jnp.bfloat16)
    ours = run(hand_designed("sgdm", rate, momentum=jnp.asarray(0.5, jnp.bfloat16)))
    jax.tree.map(np.testing.assert_array_equal, ours, run(hand_designed("sgdm", 0.5, momentum=0.5)))


@pytest.mark.parametrize("name", NAMES)
def test_who_needs_parameters_says_so(name: str):
    optimizer = hand_designed(name, 0.1)
    state, loss = optimizer.init(params()), jnp.float32(1.0)
    if name in NEED_PARAMETERS:
        with pytest.raises(ValueError, match="param"):
            optimizer.update(gradients(0), state, value=loss)
    else:
        without, given = (optimizer.update(gradients(0), state, p, value=loss)[0] for p in (None, params()))
        jax.tree.map(np.testing.assert_array_equal, without, given)


@pytest.mark.parametrize("name", NAMES)
def test_who_needs_the_loss_says_so(name: str):
    optimizer = hand_designed(name, 0.1)
    state = optimizer.init(params())
    if name in READ_LOSS:
        with pytest.raises(ValueError, match="reads the loss: call update"):
            optimizer.update(gradients(0), state, params())
    else:
        without, given = (
            optimizer.update(gradients(0), state, params(), **extra)[0]
            for extra in ({}, {"value": jnp.float32(1.0)})
        )
        jax.tree.map(np.testing.assert_array_equal, without, given)


@pytest.mark.lenient(reason="optax raises float decays to integer counts")
@pytest.mark.parametrize(("name", "inner"), [("lookahead_sgdm", "sgdm"), ("lookahead_radam", "radam")])
def test_lookahead_is_that_of_optax(name: str, inner: str):
    """There the caller holds slow and fast weights; here the state holds their difference."""
    ours: Any = hand_designed(name, 0.1, sync_period=2, slow_step_size=0.25)
    theirs = optax.lookahead(hand_designed(inner, 0.1), sync_period=2, slow_step_size=0.25)
    weights: Any = optax.LookaheadParams.init_synced(params())
    mine, state, their_state = params(), ours.init(params()), theirs.init(weights)
    for i in range(5):
        updates, state = ours.update(gradients(i), state, mine)
        mine = optax.apply_updates(mine, updates)
        updates, their_state = theirs.update(gradients(i), their_state, weights)
        weights = optax.apply_updates(weights, updates)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), mine, weights.fast)


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "cocob", "momo", "momo_adam", "polyak_sgd"])
def test_a_method_that_finds_its_rate_recovers_from_gradients_of_zero(name: str):
    zeros = jax.tree.map(jnp.zeros_like, params())
    optimizer, loss = hand_designed(name, 1.0), jnp.float32(2.0)
    state = optimizer.init(params())
    still, state = optimizer.update(zeros, state, params(), value=loss)
    jax.tree.map(np.testing.assert_array_equal, still, zeros)
    moved, state = optimizer.update(gradients(0), state, params(), value=loss)
    assert all(np.isfinite(u).all() and np.any(u) for u in jax.tree.leaves(moved))
    bad = {**gradients(0), "w": jnp.full((4, 3), jnp.nan)}
    update: Any = optimizer.update(bad, state, params(), value=loss)[0]
    assert np.isnan(update["w"]).any()  # what is not finite is not hidden


@hypothesis.given(st.floats().filter(lambda x: not 0.0 <= x < float("inf")), st.sampled_from(NAMES))
def test_impossible_learning_rates_are_refused(rate: float, name: str):
    for kind in (float, np.float64):
        with pytest.raises(ValueError, match=r"learning_rate is .* expected a finite number, at least 0"):
            hand_designed(name, kind(rate))


CONSTANT = optax.constant_schedule(0.1)


@pytest.mark.parametrize(
    ("name", "rate", "options", "message"),
    [
        ("adam_w", 0.1, {}, "Did you mean 'adamw' or"),
        ("adam", 0.1, {"beta1": 0.9}, r"adam has no option 'beta1'\. Did you mean 'b1'"),
        ("sgd", 0.1, {"momentum": 0.9}, r"sgd has no option 'momentum'\. Known: none"),
        ("shampoo_sgd", 0.1, {"graft": "adagrad"}, "has no option 'graft'"),
        ("schedule_free_adamw", CONSTANT, {"warmup_steps": 3}, "warmup_steps needs a constant"),
        ("adam", jnp.float32(jnp.nan), {}, "expected a finite number"),
        ("adam", jnp.array([0.1, 0.2]), {}, r"shape \(2,\); expected a scalar"),
        *(
            ("adam", rate, {}, "expected a number or an optax schedule")
            for rate in ("0.1", None, True, [0.1])
        ),
    ],
)
def test_what_is_refused(name: str, rate: Any, options: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        hand_designed(name, rate, **options)


BAD = {"b1": (2.0, -0.1, "x", None), "eps": (-1.0, 1j), "nesterov": ("x", 1), "block_size": (0, 1.5, True)}


@pytest.mark.parametrize("name", NAMES)
def test_options_of_the_wrong_type_or_range_are_refused(name: str):
    """Every option: what is no number, not finite, or out of its range; a traced one is taken."""
    for option, parameter in inspect.signature(HAND_DESIGNED[name]).parameters.items():
        if option in ("learning_rate", "graft"):
            continue
        known = BAD.get(option, ())
        for wrong in (*known, float("nan"), "x", [0.1], np.ones(2)):
            with pytest.raises(ValueError, match=f"^{option} is .*; expected "):
                HAND_DESIGNED[name](0.1, **{option: wrong})
        if isinstance(parameter.default, float) and name != "sm3":
            jax.eval_shape(lambda x, option=option: HAND_DESIGNED[name](0.1, **{option: x}) and x, 0.5)
