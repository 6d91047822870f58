"""Tasks drawn from a distribution: names, shared programs, and agreement with the fixed tasks."""

import dataclasses
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.learned import learned_optimizer
from celo.meta.compile import jit
from celo.meta.data.text import load_text
from celo.meta.program import StageProgram, group_tasks
from celo.meta.recipe import Recipe
from celo.meta.stage import Stage
from celo.meta.tasks import make, parameter_shapes, stack_tasks
from celo.meta.tasks.sampled import FAMILIES
from celo.meta.tasks.sampled.deep_images import ResNetFamily, ViTFamily
from celo.meta.tasks.sampled.distributions import Choice, LogInt
from celo.meta.tasks.sampled.graph import ACTIVATIONS
from celo.meta.tasks.sampled.images import (
    ImageAutoencoderFamily,
    ImageConvFamily,
    ImageMLPFamily,
    ImageVAEFamily,
)
from celo.meta.tasks.sampled.learned import LearnedFamily, SizedMLP
from celo.meta.tasks.sampled.names import find_sampled, sampled_names
from celo.meta.tasks.sampled.task import guess_relative
from celo.meta.tasks.sampled.texts import RecurrentLMFamily, TransformerLMFamily, reduce_vocabulary
from tests.meta.gradient_step import gradient_step
from tests.meta.learnable_sgd import LearnableSGD

IMAGE = {"image_size": LogInt(8, 9), "batch_size": LogInt(16, 17), "dataset": Choice(("digits",))}
TEXT = {"batch_size": LogInt(8, 9), "sequence_length": LogInt(6, 7), "dataset": Choice(("pydoc",))}
WIDTH = {"hidden_size": LogInt(9, 10), "num_layers": Choice((2,))}
LATENT = {"n_z": LogInt(3, 4), "enc_num_layers": Choice((1,)), "dec_num_layers": Choice((1,))}
BLOCKS: dict[str, Any] = {"max_blocks_per_group": LogInt(1, 2), "max_layer_size": LogInt(8, 9)}
HEADS = {"layers": LogInt(1, 2), "num_heads": LogInt(2, 3), "patch_size": Choice((4, 16))}
SMALL = {
    "image_mlp": ImageMLPFamily(**IMAGE, **WIDTH),
    "image_conv": ImageConvFamily(**IMAGE, **WIDTH),
    "image_mlp_ae": ImageAutoencoderFamily(**IMAGE, **WIDTH),
    "image_mlp_vae": ImageVAEFamily(**IMAGE, **LATENT),
    "image_resnet": ResNetFamily(**IMAGE, **BLOCKS),
    "vit": ViTFamily(**IMAGE, **HEADS),
    "lm_rnn": RecurrentLMFamily(**TEXT, core=Choice(("GRU",)), rnn_size=LogInt(8, 9)),
    "lm_transformer": TransformerLMFamily(
        **TEXT, num_heads=LogInt(1, 2), d_model_per_head=LogInt(8, 9), num_layers=LogInt(1, 2)
    ),
    "lopt": LearnedFamily(optimizer=Choice(("mlp_lopt",)), num_steps=LogInt(3, 4)),
}


def small_task(name, seed=0, cache=None):
    configuration, dynamic = SMALL[name].sample(jax.random.key(seed))
    entry = SMALL[name].entry(
        {**configuration, "dataset": "pydoc"} if "lm" in name else configuration, dynamic
    )
    return entry.make(name, {"cache_dir": cache})


def test_every_family_is_small_here():
    assert FAMILIES.keys() == SMALL.keys()


SLOW = {"image_resnet", "vit", "lm_transformer", "image_mlp_vae"}
EACH = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in SMALL if name != "lopt"
]


@pytest.mark.parametrize("name", EACH)
def test_contract(name, key, tmp_path):
    """Everything is traceable and finite, a small step against the gradient lowers the loss."""
    task = small_task(name, cache=tmp_path)

    found = jit(gradient_step)(task, key)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found.loss, found.grads)))
    assert jax.tree.structure(found.state) == jax.tree.structure(found.new_state)
    assert found.lower < found.loss
    assert task.name == name
    bad = task.normalizer(jnp.array([jnp.nan, jnp.inf, 1e30, found.loss]))
    assert np.isfinite(bad).all()
    assert bad[0] == bad[1] >= bad[3]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("family", FAMILIES)
def test_published_ranges_make_tasks(family, number):
    """Every configuration is buildable; no data are loaded and nothing is computed."""
    shapes = parameter_shapes(f"sampled:{family}/{number}")
    assert all(0 not in leaf.shape for leaf in jax.tree.leaves(shapes))


def test_a_name_is_a_task():
    """The same name gives the same task, another number another configuration, other scalars the same one."""
    name = "sampled:image_mlp/17@digits"
    assert parameter_shapes(name) == parameter_shapes(name)
    configs = [find_sampled(f"sampled:image_mlp/{i}").config for i in range(20)]
    assert len({str((c["hidden"], c["batch_size"])) for c in configs}) > 15
    first, second = (find_sampled(x) for x in sampled_names("image_mlp", 17, 2, "digits"))
    assert first.config["hidden"] == second.config["hidden"]
    assert first.config["dynamic"] != second.config["dynamic"]
    assert find_sampled("sampled:lm_rnn/3@pydoc").dataset == "pydoc"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("sampled:image_mlpx/1", "image_mlp"),
        ("sampled:image_mlp/x", "sampled:FAMILY/NUMBER"),
        ("sampled:image_mlp/1@digit", "dataset"),
        ("sampled:image_mlp/1@pydoc", "dataset"),
    ],
)
def test_bad_names(name, match):
    with pytest.raises(ValueError, match=match):
        Recipe(tasks=(name,))


def test_checking_a_name_starts_no_device():
    """Commands check names before they choose the devices."""
    code = (
        "import jax; from celo.meta.tasks import check_name; check_name('sampled:image_mlp/1@digits'); "
        "jax.config.update('jax_num_cpu_devices', 2)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scalars_share_a_program(tmp_path):
    """Tasks that differ in scalars alone are traced once, and stack."""
    tasks = [small_task("image_mlp", seed, tmp_path) for seed in range(6)]
    assert len({float(task.dynamic["init_scale"]) for task in tasks}) == 6
    traces = []

    @jax.jit
    def first_loss(task, key):
        traces.append(None)
        params, state = task.init(key)
        return task.loss(params, state, key, task.batch(key, "train"))[0]

    key = jax.random.key(1)
    losses = [first_loss(task, key) for task in tasks]
    assert len(traces) == 1
    stacked = jax.vmap(first_loss, in_axes=(0, None))(stack_tasks(tasks), key)
    np.testing.assert_allclose(stacked, losses, rtol=1e-5)
    assert group_tasks(tasks) == [list(range(6))]


def test_agrees_with_the_fixed_task(key, tmp_path):
    """With ReLU and the same parameters a sampled perceptron has the loss of the fixed one."""
    fixed = make("ImageMLP_Digits8_Relu32_bs64", cache_dir=tmp_path)
    sampled = dataclasses.replace(small_task("image_mlp", cache=tmp_path), task=fixed)
    for name in ("relu", "tanh"):
        dynamic = {**sampled.dynamic, "activation": jnp.int32(ACTIVATIONS.index(name))}
        task = dataclasses.replace(sampled, dynamic=dynamic)
        params, batch = fixed.init(key)[0], fixed.batch(key, "train")
        expected = fixed.loss(params, (), key, batch)[0]
        found = task.loss(params, (), key, batch)[0]
        assert (abs(found - expected) < 1e-6) == (name == "relu")


def test_data_fraction(tmp_path):
    """A share of the training examples is drawn from, and of no other split."""
    whole = small_task("image_mlp", cache=tmp_path)
    family, (configuration, dynamic) = SMALL["image_mlp"], SMALL["image_mlp"].sample(jax.random.key(0))
    part = family.entry(configuration, {**dynamic, "data_fraction": jnp.float32(0.1)}).make(
        "", {"cache_dir": tmp_path}
    )
    sizes = {split: int(examples.size) for split, examples in part.task.data.splits.items()}
    assert sizes == {s: int(e.size) for s, e in whole.task.data.splits.items()} | {"train": 129}


def test_normaliser():
    """Closed form: a guess among C classes is 10 ln 5 / ln C, a perfect loss is that minus 10."""
    for classes in (10, 1000):
        guess = guess_relative(jnp.log(jnp.float32(classes)), classes)
        np.testing.assert_allclose(guess, 10 * np.log(5) / np.log(classes), rtol=1e-4)
        np.testing.assert_allclose(guess_relative(jnp.float32(0), classes), guess - 10, rtol=1e-3)
        assert guess_relative(jnp.float32(jnp.nan), classes) == guess_relative(jnp.float32(1e9), classes)


def test_vocabulary_is_reduced(tmp_path):
    data = load_text("pydoc", cache_dir=tmp_path)
    reduced = reduce_vocabulary(data, 100)
    before, after = data.splits["train"], reduced.splits["train"]
    assert reduced.vocab_size == 100
    assert after.dtype == before.dtype
    assert after.max() < 100
    np.testing.assert_array_equal(after[before < 100], before[before < 100])
    np.testing.assert_array_equal(after[before >= 100], 1 + before[before >= 100] % 99)


def test_sized_mlp(key):
    """Published sizes and multipliers give the published optimizer; multipliers enter as they say."""
    params, grads = {"w": jnp.ones((3, 2))}, {"w": jnp.arange(6.0).reshape(3, 2)}

    def step(learned, theta) -> Any:
        optimizer = learned.optimizer(theta, 10)
        return optimizer.update(grads, optimizer.init(params), params)[0]["w"]

    plain, same = learned_optimizer("mlp_lopt"), SizedMLP()
    theta = same.init(key)
    assert jax.tree.map(jnp.shape, theta) == jax.tree.map(jnp.shape, plain.init(key))
    np.testing.assert_allclose(step(same, theta), step(plain, theta), rtol=1e-6)
    faster = SizedMLP(step_multiplier=2e-3)
    np.testing.assert_allclose(step(faster, theta), 2 * step(plain, theta), rtol=1e-5)
    assert SizedMLP("adafac_mlp", 5, 3).init(key)["mlp"]["w2"].shape == (5, 5)


@pytest.mark.slow
def test_learned_optimizer_training(key, tmp_path):
    """The loss is finite, and so is its gradient through the inner training."""
    task = small_task("lopt", cache=tmp_path)
    theta, state = task.init(key)
    batch = task.batch(key, "train")
    loss, slope = jax.jit(jax.value_and_grad(lambda theta: task.loss(theta, state, key, batch)[0]))(theta)
    assert np.isfinite(loss)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_meta_trains(tmp_path):
    """Two sampled tasks of one configuration are one group; theta moves and the losses are finite."""
    tasks = [small_task("image_mlp", seed, tmp_path) for seed in range(2)]
    stage = Stage(iterations=4, problems=2, truncation=5, horizon_low=5, horizon_high=10, normalize=True)
    learned = LearnableSGD()
    program = StageProgram(stage, learned, tasks, jax.random.key(0), 4)
    theta = learned.init(jax.random.key(0))
    before = program.begin(theta)
    assert len(before.estimator.workers) == 1
    state, measures = program.run(before, 4)
    assert np.isfinite(measures.gradient_norm).all()
    assert any(
        not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (theta, state.theta)), strict=True)
    )
