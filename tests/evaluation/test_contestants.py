"""Optimizers from texts: what each text means, what is refused, and the hyperparameters tried."""

import json
from typing import Any

import jax
import numpy as np
import optax
import pytest

import celo
from celo.baselines import HAND_DESIGNED, hand_designed
from celo.evaluation.contestants import Contestant, anywhere, check_different, contestant, learned_contestant
from celo.evaluation.hyperparameters import GRIDS, learning_rates, nadamw_trials
from celo.evaluation.labels import check_label
from celo.evaluation.rules import HandDesigned, Learned, ScheduledNAdamW
from celo.evaluation.scoreboard import NOISE
from celo.interop import AmbiguousError, encode
from celo.learned.celo import Celo
from celo.schedules import cosine_learning_rate


def test_a_hand_designed_name_is_tried_at_every_rate_of_the_grid():
    for name in HAND_DESIGNED:
        one = contestant(name)
        assert one.rule == HandDesigned(name)
        assert one.configurations == learning_rates("half_powers")
        assert not one.learned
    assert len(contestant("adam", "published").configurations) == 15


def test_the_published_grid_is_the_published_one(shared_path):
    facts = json.loads(shared_path("facts/hparam_sets.json").read_text())
    assert list(GRIDS["published"]) == facts["learning_rate_grid15"]


def test_one_rate():
    one = contestant("sgd@3e-2")
    assert (one.label, one.configurations) == ("sgd@3e-2", ({"learning_rate": 0.03},))


def test_checkpoints_with_and_without_a_label(tmp_path):
    learned = Celo(stage=1)
    theta = learned.init(jax.random.key(0))
    path = tmp_path / "a:b=c@1.safetensors"
    celo.save(path, "celo", {"stage": 1}, theta)
    for spec, label in (
        (f"mine:{path}", "mine"),
        (str(path), str(path)),
        ("celo", "celo"),
        ("x:celo", "x"),
        ("me@home:celo", "me@home"),
        (f"v@1:{path}", "v@1"),
        ("celo_adam:celo", "celo_adam"),
    ):
        one = contestant(spec)
        assert one.label == label
        assert one.learned
        assert one.configurations == ({},)
        assert isinstance(one.rule, Learned)
    jax.tree.map(np.testing.assert_array_equal, contestant(f"mine:{path}").theta, theta)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("adm", ValueError, "Unknown optimizer 'adm'. Did you mean 'adam'"),
        ("clo", ValueError, "Did you mean 'celo'"),
        ("mine:clo", ValueError, "Unknown checkpoint 'clo'. Did you mean 'celo'"),
        ("mine:no/such.safetensors", FileNotFoundError, "no file no/such.safetensors"),
        ("adamm@1e-3", ValueError, "Unknown hand-designed optimizer 'adamm'. Did you mean 'adam'"),
        ("adam@fast", ValueError, "learning rate of 'adam@fast' is 'fast'; expected a positive finite"),
        ("adam@-1", ValueError, "expected a positive finite"),
        ("adam@inf", ValueError, "expected a positive finite"),
        ("nadamw-search:many", ValueError, "is 'many'; expected nadamw-search:N"),
        ("nadamw-search:0", ValueError, "has 0 trials; expected 1 to 1000"),
        ("nadamw-search:1001", ValueError, "has 1001 trials"),
        (":celo", ValueError, "neither a name nor LABEL:CHECKPOINT"),
        ("hf://nobody", ValueError, "is no address"),
        ("runs:2/a.theta", FileNotFoundError, "no file 2/a.theta.* Nor is there a file 'runs:2/a.theta'"),
        ("runs:clo", ValueError, "Unknown checkpoint 'clo'.* Nor is there a file 'runs:clo'"),
        ("adam:celo", ValueError, "labelled 'adam', which is what a baseline is called; give it another"),
    ],
)
def test_what_means_nothing_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        contestant(spec)


@pytest.mark.parametrize(
    "label",
    ["adam", "Adam", " sgd", "adam@1e-3", "NAdamW-search", "nadamw-search:9", "nadamw-search2", NOISE],
)
def test_learned_optimizers_do_not_pass_for_baselines(label):
    learned = Celo(stage=1)
    one = learned_contestant(label, learned, learned.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="which is what a baseline is called"):
        check_different([one])


def test_a_label_says_which_optimizer_a_file_of_several_is_of(tmp_path):
    place = tmp_path / "theta.state"
    theta = celo.learned_optimizer("celo2").init(jax.random.key(0))
    place.write_bytes(encode("celo2", theta))
    for name in ("celo2", "celo2_base"):
        rule = contestant(f"{name}:{place}").rule
        assert isinstance(rule, Learned)
        assert rule.learned == celo.learned_optimizer(name)
    with pytest.raises(AmbiguousError, match="fit celo2 and celo2_base alike") as raised:
        contestant(f"mine:{place}")
    assert str(place) in str(raised.value)
    assert raised.value.fitting == ("celo2", "celo2_base")


@pytest.mark.parametrize("label", ["celo", "celo_adam", "me@home", "adam-like", "myadam", "runs/adam"])
def test_other_labels_are_free(label):
    check_label(label)


def test_a_path_from_the_home_folder_is_found_behind_a_label(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    theta = Celo(stage=1).init(jax.random.key(0))
    celo.save(tmp_path / "a.safetensors", "celo", {"stage": 1}, theta)
    assert contestant("x:~/a.safetensors").label == "x"
    assert anywhere("x:~/a.safetensors") == f"x:{tmp_path}/a.safetensors"


def test_paths_become_absolute_and_labels_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.safetensors", "a:b.safetensors", "celo", "adam", "10"):
        (tmp_path / name).touch()
    said = {
        "a.safetensors": f"a.safetensors:{tmp_path}/a.safetensors",
        "x:a.safetensors": f"x:{tmp_path}/a.safetensors",
        "a.safetensors:a.safetensors": f"a.safetensors:{tmp_path}/a.safetensors",
        f"{tmp_path}/a.safetensors": f"{tmp_path}/a.safetensors",
        "a:b.safetensors": "a:b.safetensors",  # "a" would be a label
    }
    for same in ("celo", "x:celo", "adam", "adam@1e-3", "nadamw-search:10", "x:hf://amoudgl/celo", "x:no"):
        said[same] = same
    assert {spec: anywhere(spec) for spec in said} == said


def test_optimizers_have_a_digest_whatever_they_are_called():
    one = contestant("mine:celo")
    assert contestant("other:celo").digest == one.digest
    theta = jax.tree.map(lambda x: x + 1, one.theta)
    assert Contestant("mine", one.rule, theta=theta).digest != one.digest
    assert contestant("sgd@0.1").digest != contestant("sgd@0.2").digest


def test_labels_are_different():
    one = Contestant("Adam", HandDesigned("adam"))
    with pytest.raises(ValueError, match="need different labels, got Adam, adam"):
        check_different([one, Contestant("adam", HandDesigned("sgd"))])
    with pytest.raises(ValueError, match="at least one optimizer, got none"):
        check_different([])


def test_trials_do_not_depend_on_their_number():
    assert nadamw_trials(3, seed=4) == nadamw_trials(20, seed=4)[:3]
    assert nadamw_trials(3, seed=4) != nadamw_trials(3, seed=5)


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
    schedule = cosine_learning_rate(
        trial["learning_rate"],
        10,
        trial["min_learning_rate_mult"],
        trial["constant_fraction"],
        trial["warmup_fraction"],
    )
    plain = hand_designed(
        "nadamw",
        schedule,
        b1=trial["b1"],
        b2=trial["b2"],
        eps=trial["eps"],
        adamw_weight_decay=trial["adamw_weight_decay"],
        l2_weight_decay=trial["l2_weight_decay"],
        nesterov=bool(trial["nesterov"]),
    )
    numbers = {name: np.float32(value) for name, value in trial.items()}

    def two_steps(optimizer):
        at: Any = params
        state = optimizer.init(at)
        for _ in range(2):
            updates, state = optimizer.update(grads, state, at)
            at = optax.apply_updates(at, updates)
        return at["w"]

    traced = jax.jit(lambda numbers: two_steps(ScheduledNAdamW().optimizer((), numbers, 10)))(numbers)
    np.testing.assert_allclose(traced, two_steps(plain), rtol=1e-5)
