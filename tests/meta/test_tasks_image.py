"""Image tasks: parity with the reference, closed forms, published sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import ImageData, ImageSplit, load_images
from celo.meta.tasks import ImageAutoencoder, ImageMLP
from celo.meta.tasks.layers import cross_entropy, init_mlp


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_images("digits", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def task(digits):
    return ImageMLP.of(digits)


def blank(pixels, channels, classes=10):
    """A data set of the right shape without content, for what does not depend on it."""
    split = ImageSplit(np.zeros((2, pixels, pixels, channels), np.uint8), np.zeros(2, np.int32))
    return ImageData(
        "blank", dict.fromkeys(("train", "inner_valid", "outer_valid", "test"), split), classes, 255
    )


def zero_params(task, key):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(task.init, key)[0])


def upstream_params(vectors, prefix):
    return {
        f"linear_{i}": {leaf: jnp.asarray(vectors[f"{prefix}/mlp/~/linear_{i}|{leaf}"]) for leaf in "wb"}
        for i in range(2)
    }


def test_loss_and_gradients_are_the_reference_under_reparameterisation(parity, task, key):
    vectors = parity("random/task")
    batch = {"image": jnp.asarray(vectors["image"].reshape(64, -1)), "label": jnp.asarray(vectors["label"])}

    def objective(params):
        scaled = jax.tree.map(lambda leaf: leaf * vectors["scale"], params)
        return task.loss(scaled, (), key, batch)[0]

    loss, grads = jax.jit(jax.value_and_grad(objective))(upstream_params(vectors, "params"))
    np.testing.assert_allclose(loss, vectors["loss"], rtol=1e-6)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=2e-9, rtol=1e-5),
        grads,
        upstream_params(vectors, "grad"),
    )


def test_normalizer_is_the_reference(parity, task):
    vectors = parity("random/task")
    np.testing.assert_array_equal(task.normalizer(jnp.asarray(vectors["norm_in"])), vectors["norm_out"])


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_zero_weights_guess_uniformly(classes, key):
    task = ImageMLP.of(blank(4, 1, classes))
    loss, _, _ = task.loss(
        zero_params(task, key), (), key, {"image": jnp.ones((3, 16)), "label": jnp.arange(3) % 2}
    )
    np.testing.assert_allclose(loss, math.log(classes), rtol=1e-6)
    np.testing.assert_allclose(task.normalizer(jnp.float32(jnp.nan)), 1.5 * math.log(classes), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cross_entropy_is_the_log_softmax_of_the_label(axis, key):
    loss, grad = jax.value_and_grad(lambda z: cross_entropy(z, jnp.array([1]), axis=1)[0])(
        jnp.array([[1e30, -1e30, 0.0]])
    )
    assert np.isfinite(loss)
    np.testing.assert_array_equal(grad, [[1.0, -1.0, 0.0]])
    logits = 50 * jax.random.normal(key, (6, 6))
    labels = jnp.arange(6) % 5
    losses = cross_entropy(logits, labels, axis)
    by_class = np.asarray(jax.nn.log_softmax(logits, axis)).swapaxes(-1, axis)
    np.testing.assert_allclose(losses, [-by_class[i, label] for i, label in enumerate(labels)], atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_perceptron_is_its_matrix_products(digits, activation, key):
    task = ImageMLP.of(digits, hidden=(5, 4), activation=activation)
    params, state = task.init(key)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases that are not zero
    batch = task.batch(key, "test")
    loss, _, aux = task.loss(params, state, key, batch)
    hidden = np.asarray(batch["image"], np.float64)
    for i in range(3):
        layer = params[f"linear_{i}"]
        hidden = hidden @ np.asarray(layer["w"], np.float64) + np.asarray(layer["b"], np.float64)
        if i < 2:
            hidden = np.maximum(hidden, 0) if activation == "relu" else np.tanh(hidden)
    labels = np.asarray(batch["label"])
    expected = np.log(np.exp(hidden).sum(axis=1)) - hidden[np.arange(64), labels]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(aux["accuracy"], (hidden.argmax(axis=1) == labels).mean(), rtol=1e-6)


def test_initial_weights_are_cut_at_two_sigma_and_not_rescaled(key):
    params = init_mlp(key, (64, 512, 10))
    sigma = 1 / 8
    kernel = np.asarray(params["linear_0"]["w"])
    assert np.abs(kernel).max() <= 2 * sigma
    np.testing.assert_allclose(kernel.std(), 0.87962566 * sigma, rtol=0.02)
    for layer in params.values():
        np.testing.assert_array_equal(layer["b"], 0)


def test_batches_are_examples_of_their_split(digits, task, key):
    for split, examples in digits.splits.items():
        batch = task.batch(key, split)
        rows = {row.tobytes() for row in (examples.images.reshape(-1, 64) / 16).astype(np.float32)}
        assert {row.tobytes() for row in np.asarray(batch["image"])} <= rows
        assert batch["image"].shape == (64, 64)
        assert batch["label"].dtype == jnp.int32


def test_autoencoder_of_zero_weights_answers_grey(digits, key):
    task = ImageAutoencoder.of(digits, hidden=(4,), batch_size=8)
    batch = task.batch(key, "train")
    loss, _, aux = task.loss(zero_params(task, key), (), key, batch)
    np.testing.assert_allclose(loss, np.mean((0.5 - np.asarray(batch["image"])) ** 2), rtol=1e-6)
    assert aux == {}


def test_autoencoder_normalizer(digits):
    losses = jnp.array([-1.0, 0.0, 0.3, 2.0, jnp.inf, -jnp.inf, jnp.nan])
    normalized = ImageAutoencoder.of(digits).normalizer(losses)
    np.testing.assert_allclose(normalized, [0, 0, 0.3, 1, 1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("kind", [ImageMLP, ImageAutoencoder])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden": (32, 0)}, "a width in hidden must be .* at least 1, got 0"),
        ({"hidden": [32]}, r"hidden must be a tuple of layer widths, got \[32\]"),
        ({"hidden": 32}, "hidden must be a tuple of layer widths, got 32"),
        ({"batch_size": 0}, "batch_size must be .* at least 1, got 0"),
        ({"batch_size": 64.0}, "got 64.0"),
        ({"activation": "rleu"}, "Unknown activation 'rleu'. Did you mean 'relu'"),
    ],
)
def test_bad_configuration(kind, config, message, digits):
    with pytest.raises(ValueError, match=message):
        kind.of(digits, **config)


def test_bad_classes_and_split(task, key):
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ImageMLP.of(blank(4, 1, classes=1))
    with pytest.raises(ValueError, match=r"split must be one of train, .* got 'valid'"):
        task.batch(key, "valid")
