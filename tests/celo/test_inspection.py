"""The step size in force and the rule of each parameter, read from states and trees of every kind."""

import warnings
from collections.abc import Hashable
from typing import Any

import flax.training.train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import celo
from celo._core import paths
from celo.learned import celo2
from tests.celo.parameter_builds import LOSS, PARAMS, learned

STEPS: dict[Hashable, optax.GradientTransformation] = {"train": learned("celo"), "still": optax.set_to_zero()}
LABELS = {"layer": {"w": "train", "b": "still"}, "scale": "train"}
WRAPPED: dict[str, Any] = {
    "alone": learned("celo"),
    "celo_adam": learned("celo_adam"),
    "celo2_auto": learned("celo2_auto"),
    "chain": optax.chain(optax.clip(1.0), optax.chain(learned("celo"), optax.scale(1.0))),
    "multi_steps": optax.MultiSteps(optax.chain(learned("celo")), 2),
    "finite": optax.apply_if_finite(learned("celo"), 3),
    "masked": optax.masked(learned("celo"), {"layer": {"w": True, "b": False}, "scale": True}),
    "multi_transform": optax.multi_transform(STEPS, LABELS),
    "guarded": celo.guarded(lambda steps: learned("celo"), 40, most_steps=20),
    "decay": celo.wrappers.loss_weight_decay(learned("celo"), 0.1),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_the_step_size_is_found_at_any_depth(kind: str):
    state = WRAPPED[kind].init(PARAMS)
    assert celo.step_size(state) == 1.0
    train_state = flax.training.train_state.TrainState(0, lambda: None, PARAMS, WRAPPED[kind], state)
    assert celo.step_size(train_state) == 1.0


def test_a_step_size_per_tensor():
    np.testing.assert_array_equal(celo.step_size(learned("velo_s").init(PARAMS)), np.zeros(3))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (optax.adam(0.1), "nothing in this state has a step size; expected the state of celo"),
        (learned("celo2"), "nothing in this state has a step size"),
        (optax.chain(learned("celo"), learned("celo_adam")), r"2 step sizes .* at \[0\], \[1\]"),
    ],
    ids=["adam", "celo2", "two"],
)
def test_none_or_several_step_sizes_are_an_error(optimizer: Any, message: str):
    params = {"eta": jnp.ones(2), "count": jnp.ones(2)}  # names that a state has too
    with pytest.raises(ValueError, match=message):
        celo.step_size(optimizer.init(params))


class Model(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0))


@pytest.mark.lenient(reason="flax.nnx works with integer counts")
@pytest.mark.parametrize("chained", [False, True])
def test_states_of_nnx_are_read(chained: bool):
    method = celo.hand_designed("schedule_free_adamw", 0.1)
    wrapped = optax.chain(optax.identity(), method) if chained else method
    model = Model()
    optimizer = nnx.Optimizer(model, wrapped, wrt=nnx.Param)
    for _ in range(2):
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    params: Any = nnx.state(model, nnx.Param)
    z: Any = nnx.state(optimizer)["opt_state"]
    z = z[1]["z"] if chained else z["z"]
    expected = (params["linear"]["kernel"][...] - 0.1 * z["linear"]["kernel"][...]) / 0.9
    for state in (optimizer, optimizer.opt_state, nnx.state(optimizer)):
        found: Any = celo.eval_params(state, params)
        assert jax.tree.structure(found) == jax.tree.structure(params)
        np.testing.assert_allclose(found["linear"]["kernel"][...], expected, rtol=1e-5)
    trained = nnx.Optimizer(model, optax.chain(learned("celo")), wrt=nnx.Param)
    for state in (trained, trained.opt_state, nnx.state(trained)):
        assert celo.step_size(state) == 1.0
        assert celo.eval_params(state, params) is params


KINDS = {
    paths.EMBEDDING: "wte h/wpe/w Embed_0/embedding tok_embed TokenEmbedding/w token_embedder/w emb posEmbed",
    paths.HEAD: "head lm_head/kernel logits_dense/w output_layer/w OutputLayer/w classifier/dense/w",
    None: "multi_head/w MultiHeadDotProductAttention_0/query attention_head/w embedded_mlp/w head_0/w",
}


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_and_heads_are_known_by_whole_words(kind: str | None):
    for path in KINDS[kind].split():
        assert paths.kind(path) == kind, path


@pytest.mark.parametrize(
    ("path", "patterns", "matched"),
    [
        ("h/wte/w", "wte", True),
        ("h/wte2/w", "wte", False),
        ("h/wte/w", "out|h/*", True),
        ("h/wte/w", "", False),
        ("a" * 5000, "*a" * 50 + "b", False),
    ],
)
def test_patterns_match_whole_paths_or_keys_in_bounded_time(path: str, patterns: str, matched: bool):
    assert paths.matches(path, patterns) == matched


def test_celo2_warns_once_where_it_recognises_neither_embedding_nor_head():
    hidden, vector = {"w": jnp.ones((3, 2))}, {"b": jnp.ones(3)}
    celo2.warn_unrecognised.cache_clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for silent in (vector, {**hidden, "wte": jnp.ones((2, 2))}, {**hidden, "head": jnp.ones((2, 2))}):
            learned("celo2").init(silent)
        learned("celo2", adam_paths="").init(hidden)
        assert not seen
        for _ in range(2):
            learned("celo2").init(hidden)
    assert ["celo2 recognises no embedding and no head" in str(w.message) for w in seen] == [True]


def test_routing_prints_the_rule_of_each_parameter():
    params = {"wte": jnp.ones((5, 4)), "layer": {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}}
    lines = str(celo.routing("celo2", jax.eval_shape(lambda: params))).split("\n")
    assert [line.split()[0] for line in lines] == ["parameter", "layer/b", "layer/w", "wte"]
    assert lines[3].split() == ["wte", "(5,", "4)", "adam", "embedding"]
    rules = {
        name: [route.rule for route in celo.routing(name, params)] for name in ("celo", "muon", "shampoo_sgd")
    }
    assert rules == {"celo": ["celo"] * 3, "muon": ["adamw", "muon", "muon"], "shampoo_sgd": ["shampoo"] * 3}
    routed = celo.routing("celo2", params, adam_paths="layer/*")
    assert [route.rule for route in routed] == ["adam", "adam", "learned"]
    for name in (*celo.LEARNED, *celo.HAND_DESIGNED):
        assert len(celo.routing(name, params)) == 3
    with pytest.raises(ValueError, match="Unknown optimizer 'cello'"):
        celo.routing("cello", params)


class LossTrainState(flax.training.train_state.TrainState):
    """As the error message of a missing loss shows it."""

    def apply_gradients(self, *, grads: Any, value: Any) -> Any:
        tx: Any = self.tx  # flax declares one without extra arguments
        updates, opt_state = tx.update(grads, self.opt_state, self.params, value=value)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)


def test_a_train_state_that_drops_the_loss_is_named_and_one_that_hands_it_on_works():
    plain = flax.training.train_state.TrainState.create(apply_fn=None, params=PARAMS, tx=learned("celo"))
    with pytest.raises(ValueError, match="flax's TrainState drops it too"):
        plain.apply_gradients(grads=PARAMS, value=LOSS)
    state: Any = LossTrainState.create(apply_fn=None, params=PARAMS, tx=learned("celo"))
    after = jax.eval_shape(lambda: state.apply_gradients(grads=PARAMS, value=LOSS).params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, PARAMS)
