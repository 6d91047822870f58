"""Optimizers from texts: what each text means, what is refused, and the settings tried."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import optax
import pytest

import celo
from celo.baselines import HAND_DESIGNED, hand_designed
from celo.evaluation.grids import GRIDS, learning_rates, nadamw_trials
from celo.evaluation.optimizers import learned_optimizer, parse
from celo.evaluation.scores import NOISE
from celo.interop import AmbiguousError, encode
from celo.learned.celo import Celo
from celo.schedules import (
    cosine_learning_rate,
)

MINE = "tests.evaluation.bowl"


def test_a_hand_designed_name_is_tried_at_every_rate_of_the_grid():
    for name in HAND_DESIGNED:
        one = parse(name)
        assert one.settings == learning_rates("half_powers")
        assert (one.label, one.learned, one.baseline) == (name, False, True)
    assert len(parse("adam", "published").settings) == 15
    assert len({parse(name).digest for name in HAND_DESIGNED}) == len(HAND_DESIGNED)


def test_the_published_grid_is_the_published_one(shared_path):
    facts = json.loads(shared_path("facts/hparam_sets.json").read_text())
    assert list(GRIDS["published"]) == facts["learning_rate_grid15"]


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("optax:lion", 14),
        ("x=optax:sgd@3e-2", 1),
        (f"{MINE}:sgd_of_mine", 14),
        (f"m={MINE}:decaying", 1),
        (f"{MINE}:sgd_of_mine@1", 1),
    ],
)
def test_a_function_of_a_users_module_is_an_optimizer(text, rates):
    one = parse(text)
    assert (len(one.settings), one.learned, one.baseline) == (rates, False, False)
    rate = {name: np.float32(0.1) for name in one.settings[0]}
    made = one.make((), rate, 7)
    assert made.init({"w": np.ones(2)}) is not None
    assert one.digest == dataclasses.replace(one, label="other").digest != parse("sgd").digest


def test_a_change_of_a_users_module_changes_the_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import optax\ndef f(learning_rate): return optax.sgd(learning_rate)\n"
    (tmp_path / "its_optimizer.py").write_text(source)
    before = parse("its_optimizer:f").digest
    (tmp_path / "its_optimizer.py").write_text(source + "# changed\n")
    assert parse("its_optimizer:f").digest != before


def test_checkpoints_with_and_without_a_label(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    learned = Celo(stage=1)
    theta = learned.init(jax.random.key(0))
    path = tmp_path / "a:b=c@1.safetensors"
    celo.save(path, "celo", {"stage": 1}, theta)
    for text, label in (
        (f"mine:{path}", "mine"),
        (f"mine={path}", "mine"),
        (f"mine:~/{path.name}", "mine"),
        (str(path), str(path)),
        ("celo", "celo"),
        ("x:celo", "x"),
        ("x=celo", "x"),
        ("me@home:celo", "me@home"),
        (f"v@1:{path}", "v@1"),
        ("celo_adam:celo", "celo_adam"),
    ):
        one = parse(text)
        assert (one.label, one.spec, one.learned, one.settings) == (label, text, True, ({},))
    jax.tree.map(np.testing.assert_array_equal, parse(f"mine:{path}").theta, theta)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("adm", ValueError, "Unknown optimizer 'adm'. Did you mean 'adam'"),
        ("clo", ValueError, "Did you mean 'celo'"),
        ("mine:clo", ValueError, "Unknown checkpoint 'clo'. Did you mean 'celo'"),
        ("mine:no/such.safetensors", FileNotFoundError, "no file no/such.safetensors"),
        ("adamm@1e-3", ValueError, "Unknown hand-designed optimizer 'adamm'. Did you mean 'adam'"),
        ("adam@fast", ValueError, "learning rate of 'adam@fast' is 'fast'; expected a positive finite"),
        ("adam@inf", ValueError, "expected a positive finite"),
        ("nadamw-search:many", ValueError, "is 'many'; expected nadamw-search:N"),
        ("nadamw-search:0", ValueError, "has 0 trials; expected 1 to 1000"),
        (":celo", ValueError, "neither a name nor LABEL:CHECKPOINT"),
        ("hf://nobody", ValueError, "is no address"),
        ("runs:2/a.theta", FileNotFoundError, "no file 2/a.theta.* Nor is there a file 'runs:2/a.theta'"),
        ("adam=sgd@1", ValueError, "the label 'adam' is the name of a baseline"),
        ("", ValueError, "an optimizer is an empty text"),
        ("=adam", ValueError, "has an empty part; expected LABEL=OPTIMIZER"),
        ("a\nb=sgd@1", ValueError, "is empty or holds control characters"),
        ("optax:no_such", ValueError, "the module optax .* has no no_such"),
        (f"{MINE}:needy", ValueError, "needs the arguments momentum; expected none without a default but"),
        (f"{MINE}:nothing", ValueError, "nothing returns a int; expected an optax optimizer"),
        (f"{MINE}:decaying@0.1", ValueError, "bowl:decaying has no learning rate"),
        (f"{MINE}:NAME", ValueError, "is no function that makes an optimizer"),
    ],
)
def test_what_means_nothing_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse(text)


@pytest.mark.parametrize(
    "label",
    [
        *("adam", "Adam", " sgd", "adam@1e-3", "NAdamW-search", "nadamw-search:9", "nadamw-search2", NOISE),
        *("", " ", "a\nb", "a\tb", "a\x1b[31mb", "a\u2028b", "\x00"),
    ],
)
def test_labels_that_mislead_or_break_lines_are_refused(label):
    learned = Celo(stage=1)
    with pytest.raises(ValueError, match="the label"):
        learned_optimizer(label, learned, learned.init(jax.random.key(0)))


def test_a_label_says_which_optimizer_a_file_of_several_is_of(tmp_path):
    place = tmp_path / "theta.state"
    theta = celo.learned_optimizer("celo2").init(jax.random.key(0))
    place.write_bytes(encode("celo2", theta))
    for name in ("celo2", "celo2_base"):
        assert parse(f"{name}:{place}").identity == repr(celo.learned_optimizer(name))
    with pytest.raises(AmbiguousError, match="fit celo2 and celo2_base alike") as raised:
        parse(f"mine:{place}")
    assert str(place) in str(raised.value)
    assert raised.value.fitting == ("celo2", "celo2_base")


def test_the_digest_is_of_the_optimizer_and_theta_and_not_of_label_or_settings():
    one = parse("mine:celo")
    copy, changed = (jax.tree.map(change, one.theta) for change in (np.array, lambda x: x + 1))
    assert parse("other:celo").digest == dataclasses.replace(one, theta=copy).digest == one.digest
    assert dataclasses.replace(one, theta=changed).digest != one.digest
    assert parse("sgd@0.1").digest == parse("sgd").digest != parse("adam").digest


def test_trials_fill_the_space_of_the_published_settings(shared_path):
    """Ranges, medians and numbers of zeros against those of the 1000 published settings."""
    facts = json.loads(shared_path("facts/hparam_sets.json").read_text())
    published = facts["nadamw_search_space"]["observed_ranges"]
    trials = nadamw_trials(1000)
    names = {"b1": "one_minus_beta1", "b2": "one_minus_beta2", "eps": "epsilon"}
    for name in trials[0]:
        values = np.array([trial[name] for trial in trials])
        if name == "nesterov":
            assert abs(values.mean() - 0.5) < 0.06
            continue
        values = 1 - values if name in ("b1", "b2") else values
        facts = published[names.get(name, name)]
        low, high = facts.get("min_nonzero", facts.get("min")), facts["max"]
        nonzero = values[values > 0]
        if name == "constant_fraction":
            assert 0 <= nonzero.min() < 0.01 < 0.99 < nonzero.max() <= 1
        else:
            np.testing.assert_allclose(
                np.log10([nonzero.min(), nonzero.max()]), np.log10([low, high]), atol=0.1
            )
        assert abs((values == 0).sum() - facts.get("n_zero", 0)) < 65
    assert not any(trial["adamw_weight_decay"] == trial["l2_weight_decay"] == 0 for trial in trials)


def test_a_trial_is_nadamw_with_its_schedule():
    trial = nadamw_trials(1)[0]
    params = {"w": np.ones(3, np.float32)}
    grads = {"w": np.array([0.1, -0.2, 0.3], np.float32)}
    at = ("learning_rate", "min_learning_rate_mult", "constant_fraction", "warmup_fraction")
    schedule = cosine_learning_rate(num_steps=10, **{name: trial[name] for name in at})
    options: dict[str, Any] = {name: value for name, value in trial.items() if name not in at}
    plain = hand_designed("nadamw", schedule, **(options | {"nesterov": bool(trial["nesterov"])}))
    numbers = {name: np.float32(value) for name, value in trial.items()}

    def two_steps(optimizer):
        at: Any = params
        state = optimizer.init(at)
        for _ in range(2):
            updates, state = optimizer.update(grads, state, at)
            at = optax.apply_updates(at, updates)
        return at["w"]

    traced = jax.jit(lambda numbers: two_steps(parse("nadamw-search:1").make((), numbers, 10)))(numbers)
    np.testing.assert_allclose(traced, two_steps(plain), rtol=1e-5)


def test_optlist_is_the_published_order(shared_path):
    facts = json.loads(shared_path("facts/hparam_sets.json").read_text())
    published = facts["nadamw_search_space"]["first_10"]
    spelling = {"b1": "beta1", "b2": "beta2", "eps": "epsilon", "nesterov": "use_nesterov"}
    one = parse("optlist:10")
    assert one.settings == tuple(
        {name: row[spelling.get(name, name)] for name in nadamw_trials(1)[0]} for row in published
    )
    assert (one.label, parse("optlist:3").settings) == ("optlist:10", one.settings[:3])
    assert one.digest == parse("nadamw-search:2").digest
