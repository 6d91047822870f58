"""The published tasks are the published ones: sizes, data, batches, losses, normalisers; and they trace."""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import SPLITS
from celo.meta.tasks import TASKS, parameter_shapes
from celo.meta.tasks.entry import CompositeEntry
from celo.meta.tasks.image_data import ImageEntry
from celo.meta.tasks.registry import SUFFIX
from tests.conftest import ROOT
from tests.meta.gradient_step import gradient_step

COUNTS = json.loads((ROOT / "tests" / "data" / "published_counts.json").read_text())
"""Numbers of parameters of the published tasks on images and of those made of other tasks."""

NERF = {f"JAXNeRF_{scene}BlenderTask" for scene in ("Lego", "Ship", "Hotdog")}
NOT_BUILT = {"NoisyQuadraticFamily", *NERF}
LANGUAGE = ("rnn_lm", "transformer_lm")

# One of each structure; the tasks that share it differ in batch, data or width alone.
TRACED = (
    "ImageMLP_Cifar100_128x128x128_Relu",
    "ImageMLP_Cifar10_128x128_Dropout05_Relu_MSE",
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu",
    "ImageMLP_Cifar10_128x128x128_BatchNorm_Tanh",
    "ImageMLPAE_Cifar10_128x32x128_bs256",
    "Conv_Cifar100_32x64x64",
    "Conv_Cifar10_32x64x64_batchnorm",
    "Conv_Cifar10_32x64x64_layernorm",
    "VIT_Cifar100_wideshallow",
    "VIT_Cifar100_skinnydeep",
    "MLPMixer_Food101_64_tiny16",
    "Resnet_MultiRuntime_5",
    "ESWrapped_8pair_ImageMLP_Mnist_128x128x128_Relu",
    "LOpt_MLPLOpt_Cifar10_8_50",
    "LOpt_AdafacMLPLOpt_FashionMnist_50",
    "LOpt_ES4_AdafacMLPLOpt_FashionMnist_20",
    "LOptPES_Adafac_Fashion_OuterBS4_Length50_Trunc5",
    "NoisyMeanQuadraticTask",
    "FixedDimQuadraticFamilyData",
)


def size(shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.fixture(scope="module")
def facts(shared_path):
    return json.loads(shared_path("facts/velodrome.json").read_text())["tasks"]


@pytest.mark.parametrize("family", sorted({TASKS[name].family for name in COUNTS}))
def test_parameter_counts(family):
    names = [name for name in COUNTS if TASKS[name].family == family]
    counts = {name: size(parameter_shapes(name)) for name in names}
    assert counts == {name: COUNTS[name] for name in names}


def test_every_published_task_is_there_with_its_count(facts):
    assert set(facts) - set(TASKS) == NOT_BUILT
    for name in set(facts) - NOT_BUILT:
        published = facts[name]
        assert TASKS[name].family == published["family"]
        if name in COUNTS:
            assert COUNTS[name] == published["param_count"]
        elif published["family"] in LANGUAGE:
            assert size(parameter_shapes(name)) == published["param_count"]


def image_rows(facts):
    return {name: entry for name, entry in TASKS.items() if isinstance(entry, ImageEntry) and name in facts}


def test_data_and_batches_are_the_published_ones(facts):
    for name, entry in image_rows(facts).items():
        published = facts[name]
        resized = f"{entry.dataset}_{entry.size}" if entry.dataset == "imagenet2012" else entry.dataset
        assert resized == published["dataset"], name
        assert [*entry.shape[:2]] == published["image_size"], name
        assert entry.shape[2] == published["channels"], name
        assert entry.spec.num_classes == published["num_classes"], name
        assert entry.config["batch_size"] == published["batch_size"], name
        assert not entry.upstream_1_percent


def test_losses_and_state_are_the_published_ones(facts):
    for name, entry in image_rows(facts).items():
        task, published = entry.blank(name), facts[name]
        objective = getattr(task, "objective", "cross_entropy")
        if published["family"] != "image_mlp_ae":
            expected = "squared_error" if published["loss"]["type"] == "mse" else "cross_entropy"
            assert objective == expected, name
        state = jax.eval_shape(lambda k, task=task: task.init(k)[1], jax.random.key(0))
        assert bool(jax.tree.leaves(state)) == published["has_model_state"], name


def published_normalizer(text, classes, loss):
    """The published normaliser, from its description."""
    finite = math.isfinite(loss)
    ceiling, unit = 1.5 * math.log(classes), math.log(2 * classes)
    if text.startswith("replace_nan_posinf_neginf_with"):
        return ceiling if math.isnan(loss) else min(max(loss, 0.0), ceiling)
    if text.startswith("clip(loss,0,1.5*ln(C))"):
        return loss if math.isnan(loss) else min(max(loss, 0.0), ceiling)
    if text.startswith("nan/inf -> 1; then 10*min(loss,1)"):
        return 10 * min(loss if finite else 1.0, 1.0)
    if text.startswith("nan/inf -> ln(2C)"):
        return min(max(10 * (loss if finite else unit) / unit, 0.0), 10.0)
    assert text.startswith("identity"), text
    return loss


def test_normalizers_are_the_published_ones(facts):
    losses = [0.3, 2.0, 7.5, -1.0, math.inf, -math.inf, math.nan]
    seen = set()
    for name, entry in image_rows(facts).items():
        text, classes = facts[name]["normalizer"], facts[name]["num_classes"]
        if entry.family == "image_mlp_ae" or (text, classes) in seen:
            continue  # the autoencoder's is tested with it
        seen.add((text, classes))
        found = entry.blank(name).normalizer(jnp.array(losses, jnp.float32))
        expected = [published_normalizer(text, classes, loss) for loss in losses]
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=name)


def test_compositions_are_the_published_ones(facts):
    for name, entry in TASKS.items():
        if not isinstance(entry, CompositeEntry):
            continue
        published = facts[name]
        task: Any = entry.blank(name)
        kind: Any = entry
        if "es" in published:
            assert (task.pairs, task.sigma) == (published["es"]["n_pairs"], published["es"]["std"])
        if entry.family == "es_wrapped":
            assert kind.inner_name == published["base_task"]
            continue
        inner = kind.inner if "es" in published else kind
        training = task.task if "es" in published else task
        assert inner.inner_name == published["inner_task"]
        assert entry.dataset == published["dataset"]
        if entry.family == "lopt":
            assert training.steps == published["inner_steps"]
        else:
            sizes = ("num_inner_tasks", "total_unroll_length", "truncation_length")
            assert (task.problems, task.horizon, task.length) == tuple(published[key] for key in sizes)


@pytest.mark.parametrize("name", TRACED)
def test_a_gradient_step_traces(name):
    """Under strict promotion of ranks and dtypes, with the shapes of the published task."""
    task = TASKS[name].blank(name)

    found = jax.eval_shape(gradient_step, task, jax.random.key(0))
    assert found.params == found.grads
    states = (jax.tree.map(lambda leaf: leaf.shape, state) for state in (found.state, found.new_state))
    assert next(states) == next(states)
    assert {leaf.shape for leaf in (found.loss, *found.aux.values())} == {()}
    batches = [jax.eval_shape(lambda k, s=split: task.batch(k, s), jax.random.key(0)) for split in SPLITS]
    assert all(batch == batches[0] for batch in batches)
    assert task.name == name


def test_one_percent_has_its_own_names():
    names = [name for name in TASKS if name.endswith(SUFFIX)]
    assert {TASKS[name].dataset for name in names} == {"svhn", "cifar100", "food101"}
    for name in names:
        plain, cut = TASKS[name.removesuffix(SUFFIX)], TASKS[name]
        assert isinstance(plain, ImageEntry)
        assert isinstance(cut, ImageEntry)
        assert (plain.upstream_1_percent, cut.upstream_1_percent) == (False, True)
        assert (plain.config, plain.dataset) == (cut.config, cut.dataset)
