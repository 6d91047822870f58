"""Workloads beyond perceptrons and language models: generated data, denoising, fine-tuning."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import load_images
from celo.meta.tasks import Quadratic, make
from celo.meta.tasks.click_through import generate_clicks
from celo.meta.tasks.denoising import Denoising, UNet
from celo.meta.tasks.fine_tuning import FineTuned
from celo.meta.tasks.graphs import TriangleCounting


def test_clicks_are_the_same_everywhere_and_depend_on_products_of_embeddings():
    arrays = generate_clicks(4000, tables=3, categories=20, numbers=2, seed=5)
    again = generate_clicks(4000, tables=3, categories=20, numbers=2, seed=5)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    assert arrays["category"].max() < 20
    frequency = np.bincount(arrays["category"][:, 0], minlength=20) / 4000
    np.testing.assert_allclose(frequency, 1 / np.arange(1, 21) / np.sum(1 / np.arange(1, 21)), atol=0.03)
    assert 0.15 < arrays["click"].mean() < 0.5


def test_click_through_learns_what_a_constant_cannot(key):
    """A linear guess of the base rate has the entropy of it; trained by Adam, the model is below."""
    task: Any = make("ClickThrough_DLRM_8x1000_Embed16_bs128")
    (params, _), batch = jax.jit(task.init)(key), task.batch(key, "train")
    share = float(jnp.mean(task.splits["train"].arrays["click"].astype(jnp.float32)))
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    tuned = FineTuned.of(task, task, steps=300, rate=3e-3)
    params, _ = jax.jit(tuned.init)(key)
    losses = [task.loss(params, (), key, task.batch(jax.random.key(i), "test"))[0] for i in range(10)]
    assert np.mean(losses) < entropy - 0.02
    assert batch["click"].shape == (128,)


def test_triangles_are_counted(key):
    batch = TriangleCounting(nodes=7, width=4, batch_size=5).batch(key, "train")
    edges = np.asarray(batch["edges"])
    np.testing.assert_array_equal(edges, np.swapaxes(edges, 1, 2))
    assert not np.any(np.diagonal(edges, axis1=1, axis2=2))
    for graph, target in zip(edges, batch["target"], strict=True):
        count = sum(
            graph[i, j] * graph[j, k] * graph[i, k] for i, j, k in itertools.combinations(range(7), 3)
        )
        np.testing.assert_allclose(target, np.log1p(count), rtol=1e-5)


def test_predictions_for_a_graph_do_not_depend_on_the_order_of_nodes(key):
    task = TriangleCounting(nodes=6, width=4, batch_size=3)
    (params, _), batch = task.init(key), task.batch(key, "test")
    order = jnp.asarray([3, 0, 5, 1, 4, 2])
    permuted = batch | {"edges": batch["edges"][:, order][:, :, order]}
    losses = [task.loss(params, (), key, one)[0] for one in (batch, permuted)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_splits_of_generated_graphs_differ(key):
    task = TriangleCounting(nodes=6, width=4, batch_size=3)
    train, test = (task.batch(key, split)["edges"] for split in ("train", "test"))
    assert np.any(np.asarray(train) != np.asarray(test))


def test_denoising_of_a_network_that_returns_its_input_is_the_variance_of_the_noise(key):
    class Identity(UNet):
        def __call__(self, images):
            return images

    task = Denoising.of(load_images("digits"), Identity(), sigma=0.3)
    loss, _, _ = task.loss({}, (), key, task.batch(key, "train"))
    np.testing.assert_allclose(loss, 0.3**2, rtol=0.1)


@pytest.mark.parametrize("size", [7, 8])
def test_a_unet_keeps_the_shape_of_images(size, key):
    network, images = UNet((2, 3)), jnp.ones((2, size, size, 1))
    assert jax.eval_shape(lambda: network.init_with_output(key, images)[0]).shape == images.shape


def test_fine_tuning_starts_where_adam_ends(key):
    """On a quadratic the start is nearer to the target of the source, whose loss is what Adam lowers."""
    source, task = Quadratic.of([1.0, 2.0], target=3.0), Quadratic.of([1.0, 2.0], target=-3.0)
    tuned = FineTuned.of(task, source, steps=4000, rate=1e-2)
    params, _ = jax.jit(tuned.init)(key)
    np.testing.assert_allclose(params["x"], 3.0, atol=0.02)
    batch = tuned.batch(key, "train")
    np.testing.assert_allclose(tuned.loss(params, (), key, batch)[0], 0.5 * 3 * 36, rtol=0.02)
    assert tuned.name == "FineTuned_Quadratic2_from_Quadratic2"


def test_fine_tuning_needs_parameters_of_the_same_shapes():
    with pytest.raises(ValueError, match="have different parameters"):
        FineTuned.of(Quadratic.of([1.0]), Quadratic.of([1.0, 2.0]))


@pytest.mark.parametrize(
    ("config", "message"), [({"steps": 0}, "steps must be"), ({"rate": 0.0}, "rate must")]
)
def test_bad_settings_of_fine_tuning(config, message):
    with pytest.raises(ValueError, match=message):
        FineTuned.of(Quadratic.of([1.0]), Quadratic.of([2.0]), **config)
