"""Options, schedules and prompts of optimizers under test: what they mean, and what is refused."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo
from celo.baselines import hand_designed
from celo.evaluation.grids import learning_rates
from celo.evaluation.optimizers import parse
from celo.learned.celo import Celo
from celo.schedules import (
    exponential_decay,
    linear_rampup_sqrt_decay,
    warmup_cosine,
    warmup_stable_decay,
)

MINE = "tests.evaluation.bowl"


@pytest.mark.parametrize(
    ("text", "identity", "others"),
    [
        ("adam[b1=0.95]", "hand_designed:adam[b1=0.95]", {}),
        ("sm3[b2=0.999]", "hand_designed:sm3[b2=0.999]", {}),
        ("muon[nesterov=false]", "hand_designed:muon[nesterov=False]", {}),
        ("rmsprop[momentum=none]", "hand_designed:rmsprop[momentum=None]", {}),
        ("adam[schedule=cosine,warmup=0.05]", "hand_designed:adam[warmup=0.05,schedule=cosine]", {}),
        ("adamw[weight_decay=0|0.01|0.1]", "hand_designed:adamw", {"weight_decay": (0.0, 0.01, 0.1)}),
        (
            "adam[ b1 = 0.8|0.9 , schedule=wsd,cooldown=0.1|0.3 ]",
            "hand_designed:adam[schedule=wsd]",
            {"b1": (0.8, 0.9), "cooldown": (0.1, 0.3)},
        ),
        ("optax:lion[b1=0.5]", "function:optax:lion[b1=0.5]:", {}),
    ],
)
def test_options_are_fixed_or_make_a_grid_over_every_rate(text, identity, others):
    one = parse(text)
    rates = [setting["learning_rate"] for setting in learning_rates("half_powers")]
    points = itertools.product(rates, *others.values())
    assert one.settings == tuple(
        dict(zip(("learning_rate", *others), point, strict=True)) for point in points
    )
    assert (one.label, one.identity) == (text, identity)
    assert (one.digest == parse("adamw").digest) == (identity == "hand_designed:adamw")
    assert parse(f"x={text}").label == "x"


def updates(optimizer: Any, steps: int = 3) -> Any:
    params = {"w": np.linspace(-1, 2, 4, dtype=np.float32).reshape(2, 2)}
    state, found = optimizer.init(params), []
    for i in range(steps):
        grads = {"w": np.cos(params["w"] + np.float32(i))}
        update, state = optimizer.update(grads, state, params, value=np.float32(1 - 0.1 * i))
        found.append(update["w"])
    return jnp.stack(found)


@pytest.mark.lenient(reason="optax raises float decays to integer counts")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adam@0.1[b1=0.5]", lambda: hand_designed("adam", 0.1, b1=0.5)),
        ("adam[lr=0.1,schedule=inverse_sqrt]", lambda: hand_designed("adam", linear_rampup_sqrt_decay(0.1))),
        (
            "adam@0.1[schedule=inverse_sqrt,warmup_steps=2]",
            lambda: hand_designed("adam", linear_rampup_sqrt_decay(0.1, 2)),
        ),
        ("sgd@0.1[schedule=exponential]", lambda: hand_designed("sgd", exponential_decay(0.1))),
        (
            "sgd@0.1[schedule=cosine,warmup=0.25,last=0.1,prompt=0.5]",
            lambda: hand_designed("sgd", warmup_cosine(0.1, 4, warmup=0.25, last=0.1)),
        ),
        ("optax:adam@0.1[b1=0.5,eps_root=1e-8]", lambda: hand_designed("adam", 0.1, b1=0.5)),
        (
            f"{MINE}:needy@0.1[momentum=0.9,schedule=wsd]",
            lambda: optax.with_extra_args_support(optax.sgd(warmup_stable_decay(0.1, 8), 0.9)),
        ),
    ],
)
def test_options_and_schedules_reach_the_optimizer(text, expected):
    one = parse(text)
    traced = jax.jit(lambda setting: updates(one.make((), setting, 8)))
    found = traced({name: np.float32(value) for name, value in one.settings[0].items()})
    np.testing.assert_allclose(found, updates(expected()), rtol=1e-5)


@pytest.mark.lenient(reason="optax raises float decays to integer counts")
def test_a_grid_of_options_is_traced():
    one = parse("adamw[lr=0.1,weight_decay=0|0.5,schedule=cosine,warmup=0|0.5]")
    columns = {name: np.array([s[name] for s in one.settings], np.float32) for name in one.settings[0]}
    found = jax.jit(jax.vmap(lambda setting: updates(one.make((), setting, 4))))(columns)
    for setting, own in zip(one.settings, found, strict=True):
        schedule = warmup_cosine(0.1, 4, warmup=setting["warmup"])
        plain = hand_designed("adamw", schedule, weight_decay=setting["weight_decay"])
        np.testing.assert_allclose(own, updates(plain), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("prompt", "told"), [("0.75", 6), ("0.01", 1), ("4", 32)])
def test_a_prompt_is_the_number_of_steps_a_learned_optimizer_is_told(prompt, told):
    one = parse(f"celo[prompt={prompt}]")
    assert (one.label, one.settings) == (f"celo[prompt={prompt}]", ({},))
    learned, theta = celo.load("celo")
    np.testing.assert_array_equal(
        updates(one.make(one.theta, {}, 8)), updates(learned.optimizer(theta, told))
    )
    grid = parse(f"x=celo[prompt={prompt}|1]")
    assert grid.settings == ({"prompt": float(prompt)}, {"prompt": 1.0})
    assert grid.digest == parse("celo").digest != one.digest
    traced = jax.jit(lambda share: updates(grid.make(grid.theta, {"prompt": share}, 8)))(np.float32(prompt))
    np.testing.assert_allclose(traced, updates(learned.optimizer(theta, told)), rtol=1e-4)


def test_a_learned_optimizer_with_a_rate_is_tuned_like_a_hand_designed_one(tmp_path):
    path, learned = tmp_path / "a.safetensors", celo.learned_optimizer("celo2_base")
    theta = learned.init(jax.random.key(0))
    celo.save(path, "celo2_base", {}, theta)
    assert parse(f"mine:{path}", "published").settings == learning_rates("published")
    text = f"celo2_base:{path}[lr=grid,weight_decay=0|0.01|0.1,schedule=cosine,warmup=0.05]"
    one = parse(text)
    assert (one.learned, len(one.settings), one.spec) == (True, 3 * 14, text)
    assert one.label == "celo2_base[lr=grid,weight_decay=0|0.01|0.1,schedule=cosine,warmup=0.05]"
    setting = {"learning_rate": 0.1, "weight_decay": 0.01}
    schedule = warmup_cosine(0.1, 8, warmup=0.05)
    build: Any = learned.optimizer
    expected = build(theta, 8, learning_rate=schedule, weight_decay=0.01)
    np.testing.assert_array_equal(updates(one.make(theta, setting, 8)), updates(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adam[beta1=0.9]", r"adam takes no option 'beta1'\. Did you mean 'b1'\? Known: b1, b2, eps"),
        ("sgd[momentum=0.9]", r"sgd takes no option 'momentum'\. Known: learning_rate, schedule"),
        ("celo[weight_decay=0.1]", r"celo takes no option 'weight_decay'\. Known: kernels, prompt"),
        ("celo[lr=0.1]", "celo has no learning rate; its options: kernels, prompt"),
        ("celo[schedule=cosine]", "celo has no learning rate; its options: kernels, prompt"),
        ("optax:lion[foo=1]", "optax:lion takes no option 'foo'. Known: b1, b2"),
        ("adam[schedule=cosin]", "Unknown schedule 'cosin'. Did you mean 'cosine'"),
        ("adam[schedule=cosine|wsd]", "adam has several schedules; expected one"),
        ("adam[warmup=0.05]", "warmup is an option of the schedules constant, cosine, wsd; add schedule="),
        ("adam[schedule=cosine,cooldown=0.2]", "option of the schedules wsd; it has schedule=cosine"),
        ("adam[schedule=cosine,warmup=2]", r"warmup is 2; expected a number in \[0.0, 1.0\]"),
        ("adam[schedule=cosine,warmup=fast]", "warmup of schedule=cosine is 'fast'; expected a number"),
        ("adam[prompt=0.75]", "adam does not follow the number of steps, so prompt= changes nothing"),
        ("adam[schedule=exponential,prompt=0.75]", "does not follow the number of steps"),
        ("celo[prompt=0]", r"prompt is 0; expected the share of the steps .* in \(0, 1000\]"),
        ("adam[b1=2]", r"b1 is 2; expected a number in \[0, 1\)"),
        ("adam[b1=0.9|2]", r"b1 is 2\.0; expected a number in \[0, 1\)"),
        ("adam[b1=nan]", "option b1 is 'nan'; expected a finite number or a word"),
        ("adam[b1=1e999]", "option b1 is '1e999'; expected a finite number"),
        ("adam[b1=1_0]", "expected a finite number or a word"),
        ("adam[b1=0.9|0.90]", r"option b1 has equal values: 0\.9\|0\.90"),
        ("adam[b1=a|b]", r"a grid of b1 holds numbers, got a\|b"),
        ("sm3[b2=0.9|1]", "a grid of b2 does not work, as that option cannot be traced"),
        ("shampoo_sgd[block_size=64|128]", "a grid of block_size does not work"),
        ("adam@1e-3[lr=0.1]", "has two learning rates"),
        ("adam[lr=0]", "the learning rate is 0; expected a positive finite number, or lr=grid"),
        ("adam[lr=fast]", "the learning rate is 'fast'"),
        ("adam[b1=0.9]@1e-3", r"do not end with '\]'"),
        ("adam[b1=0.9", r"do not end with '\]'"),
        ("adam[]", "is not of the form NAME=VALUE"),
        ("adam[b1]", "is not of the form NAME=VALUE"),
        ("adam[b1=0.9,b1=0.8]", "option b1 .* is given twice"),
        (f"adam[b1={'|'.join(map(str, range(2000)))}]", "are too long; expected at most 2,000 characters"),
        ("adam[lr=0.1,learning_rate=0.2]", "adam has both lr and learning_rate, which are one option"),
        (
            f"adam[b1={'|'.join(f'.{i}' for i in range(101, 401))},b2={'|'.join(['.1', '.2', '.3'])}]",
            "settings",
        ),
        ("optlist:11", "optlist has 11 settings; expected 1 to 10"),
        ("optlist:3[b1=0.9]", "optlist takes no options, got b1"),
        ("optlist:some", "is 'some'; expected optlist:N"),
        ("optlist=celo", "is the name of a baseline"),
        ("adam[b1=1]=celo", r"do not end with '\]'"),
    ],
)
def test_options_that_mean_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_path_with_brackets_is_no_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learned = Celo(stage=1)
    path = tmp_path / "a[b=1]"
    celo.save(path, "celo", {"stage": 1}, learned.init(jax.random.key(0)))
    assert parse(f"mine:{path}").settings == ({},)
    assert parse("a[b=1]").label == "a[b=1]"
    assert parse(f"mine:{path}[prompt=0.5]").identity.endswith("[prompt=0.5]")
