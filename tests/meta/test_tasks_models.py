"""Networks against their equations written out: order of layers, norms, dropout, first losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import SPLITS, ImageData, ImageSplit
from celo.meta.tasks import ImageClassifier
from celo.meta.tasks.convnet import ConvNet
from celo.meta.tasks.image_mlp import Perceptron
from celo.meta.tasks.mlp_mixer import MLPMixer
from celo.meta.tasks.networks import as_product, convolve
from celo.meta.tasks.resnet import ResNet, _Bottleneck
from celo.meta.tasks.vit import VisionTransformer

EPSILON = 1e-5
CLASSES = 4


def noise_images(pixels, channels=3, n=16):
    """Images of noise with labels 0 .. CLASSES - 1."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, pixels, pixels, channels), np.uint8)
    split = ImageSplit(images, (np.arange(n) % CLASSES).astype(np.int32))
    return ImageData("noise", dict.fromkeys(SPLITS, split), CLASSES, 255)


def perturbed(params):
    """Parameters none of which is zero or one."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: np.asarray(x) + rng.normal(0, 0.3, x.shape).astype(np.float32), params)


def init(network, key, images):
    """Variables of a network, drawn in one compiled call."""
    return jax.jit(lambda key: network.init({"params": key, "dropout": key}, images))(key)


def apply(network, variables, images, **options):
    """Outputs of a network, computed in one compiled call."""
    return jax.jit(lambda variables: network.apply(variables, images, **options))(variables)


@jax.jit
def evaluate(task, params, state, key, batch):
    return task.loss(params, state, key, batch)


def same_padding_conv(x, layer, stride):
    """A 3x3 convolution by the definition, padded as TensorFlow does ("SAME")."""
    kernel, (n, height, width, _) = np.asarray(layer["kernel"]), x.shape
    out = -(-height // stride)
    pad = max((out - 1) * stride + 3 - height, 0)
    padded = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)))
    result = np.zeros((n, out, -(-width // stride), kernel.shape[-1]))
    for i in range(out):
        for j in range(result.shape[2]):
            window = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            result[:, i, j] = np.einsum("nhwc,hwco->no", window, kernel) + np.asarray(layer["bias"])
    return result


def normalise(x, layer, axes):
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON) * np.asarray(layer["scale"]) + np.asarray(layer["bias"])


@pytest.mark.parametrize(("norm", "axes"), [("batch_norm", (0, 1, 2)), ("layer_norm", (-1,)), (None, None)])
def test_convolutions_apply_the_activation_before_the_norm(norm, axes, key):
    task = ImageClassifier.of(noise_images(5), ConvNet((2, 3), "tanh", norm), batch_size=6)
    params, state = jax.jit(task.init)(key)
    params = perturbed(params)
    batch = task.batch(key, "train")
    loss, new_state, _ = evaluate(task, params, state, key, batch)
    x = np.asarray(batch["image"], np.float64).reshape(6, 5, 5, 3)
    for i, stride in enumerate((2, 1)):
        x = np.tanh(same_padding_conv(x, params[f"conv_{i}"], stride))
        if norm == "batch_norm":
            moving = new_state["batch_stats"][f"norm_{i}"]
            np.testing.assert_allclose(moving["mean"], 0.1 * x.mean(axis=axes), atol=1e-6)
            np.testing.assert_allclose(moving["var"], 0.9 + 0.1 * x.var(axis=axes), atol=1e-6)
        if norm is not None:
            x = normalise(x, params[f"norm_{i}"], axes)
    kernel, bias = (np.asarray(params["linear"][part]) for part in ("kernel", "bias"))
    logits = x.mean(axis=(1, 2)) @ kernel + bias
    labels = np.asarray(batch["label"])
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), labels])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(("norm", "axes"), [("batch_norm", (0,)), ("layer_norm", (-1,))])
def test_perceptrons_apply_the_norm_before_the_activation(norm, axes, key):
    network = Perceptron((6, 5), "tanh", norm, num_classes=3)
    images = jax.random.normal(key, (7, 2, 2, 1))
    variables = init(network, key, images)
    params = perturbed(variables["params"])
    logits, _ = apply(network, {**variables, "params": params}, images, mutable=["batch_stats"])
    x = np.asarray(images, np.float64).reshape(7, -1)
    for i in range(3):
        x = x @ np.asarray(params[f"linear_{i}"]["kernel"]) + np.asarray(params[f"linear_{i}"]["bias"])
        if i < 2:
            x = np.tanh(normalise(x, params[f"norm_{i}"], axes))
    np.testing.assert_allclose(logits, x, rtol=1e-4, atol=1e-5)


def test_dropout_comes_before_the_activation_and_not_on_the_output(key):
    """With the identity as output layer, a unit is tanh(x / keep) or tanh(0), never tanh(x) / keep."""
    rate = 0.2
    network = Perceptron((500,), "tanh", dropout=rate, num_classes=500)
    images = jax.random.normal(key, (3, 2, 2, 1))
    params = init(network, key, images)["params"]
    params["linear_1"] = {"kernel": jnp.eye(500), "bias": jnp.zeros(500)}
    units = np.asarray(apply(network, {"params": params}, images, rngs={"dropout": key}))
    inner = images.reshape(3, 4) @ params["linear_0"]["kernel"]
    dropped = units == 0
    np.testing.assert_allclose(units[~dropped], np.tanh(inner / (1 - rate))[~dropped], atol=1e-5)
    assert abs(dropped.mean() - rate) < 0.03


def small(**config):
    return ImageClassifier.of(noise_images(2), Perceptron((3,)), **config)


def test_squared_error_is_the_mean_over_batch_and_classes(key):
    task = small(batch_size=5, objective="squared_error", normalization="tenfold")
    params, state = task.init(key)
    zero = jax.tree.map(jnp.zeros_like, params)
    zero["linear_1"]["bias"] = jnp.full(CLASSES, 0.25)
    loss, _, _ = evaluate(task, zero, state, key, task.batch(key, "train"))
    np.testing.assert_allclose(loss, (0.75**2 + 3 * 0.25**2) / 4, rtol=1e-6)
    np.testing.assert_allclose(task.normalizer(loss), 10 * loss, rtol=1e-6)


def test_a_residual_block_projects_what_comes_out_of_the_first_norm(key):
    """Written out with the library's convolutions: norm, ReLU, convolution, three times."""
    x = jax.random.normal(key, (2, 4, 4, 3))
    block = _Bottleneck(8, 2, True)
    variables = init(block, key, x)
    params = perturbed(variables["params"])
    found, _ = apply(block, {**variables, "params": params}, x, mutable=["batch_stats"])

    def conv(x, name, stride):
        numbers = ("NHWC", "HWIO", "NHWC")
        kernel = params[name]["kernel"]
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)

    def activate(x, name):
        return jnp.maximum(normalise(np.asarray(x), params[name], (0, 1, 2)), 0).astype(jnp.float32)

    y = activate(x, "norm_0")
    shortcut = conv(y, "projection", 2)
    y = conv(activate(conv(y, "conv_0", 1), "norm_1"), "conv_1", 2)
    y = conv(activate(y, "norm_2"), "conv_2", 1)
    np.testing.assert_allclose(found, shortcut + y, rtol=1e-3, atol=1e-4)
    assert params["conv_1"]["kernel"].shape == (3, 3, 2, 2)
    assert "bias" not in params["conv_0"]


def test_the_transformer_reads_its_token_and_positions(key):
    """Without positions the order of the patches does not matter; with them it does."""
    network = VisionTransformer(width=8, mlp_width=16, heads=2, depth=1, patch=2, num_classes=3)
    images = jax.random.normal(key, (2, 4, 4, 1))
    swapped = jnp.concatenate([images[:, 2:], images[:, :2]], axis=1)
    params = perturbed(init(network, key, images)["params"])
    assert params["position"].shape == (1, 5, 8)
    nowhere = {**params, "position": np.zeros((1, 5, 8), np.float32)}

    @jax.jit
    def logits(params, images):
        return network.apply({"params": params}, images)

    np.testing.assert_allclose(logits(nowhere, images), logits(nowhere, swapped), atol=1e-5)
    assert np.abs(logits(params, images) - logits(params, swapped)).max() > 1e-3


NETWORKS = {
    "perceptron": (Perceptron((16, 16), dropout=0.5), None),
    "perceptron_batch_norm": (Perceptron((16, 16), norm="batch_norm"), None),
    "convnet_layer_norm": (ConvNet((4, 4), norm="layer_norm"), None),
    "transformer": (VisionTransformer(8, 16, 2, 1, patch=4), 0.0),
    "mixer": (MLPMixer(8, 4, 16, 1, patch=4), 0.0),
    "resnet": (ResNet((1, 1, 1, 1), (4, 4, 4, 8)), 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_first_losses_are_near_a_uniform_guess_and_gradients_finite(name, key):
    """Exactly that of a uniform guess where the output layer starts at zero."""
    network, tolerance = NETWORKS[name]
    task = ImageClassifier.of(noise_images(8), network, batch_size=16)

    @jax.jit
    def start(task, key):
        params, state = task.init(key)
        batch = task.batch(key, "train")
        return jax.value_and_grad(lambda p: task.loss(p, state, key, batch)[0])(params)

    loss, grads = start(task, key)
    assert abs(loss - math.log(CLASSES)) <= (1.0 if tolerance is None else 1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Perceptron((8,), "rleu"), "Unknown activation 'rleu'. Did you mean 'relu'"),
        (lambda: Perceptron((8,), norm="layernorm"), "Unknown norm 'layernorm'. Did you mean 'layer_norm'"),
        (lambda: Perceptron((8,), dropout=1.0), "dropout must be at least 0 and below 1, got 1.0"),
        (lambda: Perceptron((8, 0)), "hidden must be a whole number of at least 1, got 0"),
        (lambda: ConvNet((4, -1)), "channels must be .* got -1"),
        (lambda: VisionTransformer(8, 16, 3, 1), "heads must divide the width 8, got 3"),
        (lambda: MLPMixer(8, 0, 16, 1), "token_width must be .* got 0"),
        (lambda: ResNet((1, 1, 1), (4, 4, 4)), "must have four entries"),  # pyright: ignore[reportArgumentType]
        (lambda: small(objective="mse"), "Unknown objective 'mse'"),
        (lambda: small(normalization="clipped"), "Unknown normalization 'clipped'. Did you mean 'clip'"),
        (lambda: small(batch_size=0), "batch_size must be .* got 0"),
    ],
)
def test_bad_networks(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("window", "stride", "pixels"),
    [
        *(((3, 3), (1, 1), (7, 7)), ((3, 3), (2, 2), (8, 6)), ((2, 5), (2, 3), (7, 7))),
        *(((1, 1), (2, 2), (8, 6)), ((2, 5), (1, 1), (1, 1))),
    ],
)
def test_a_product_is_the_library_s_convolution(window, stride, pixels, key):
    images = jax.random.normal(key, (2, *pixels, 3))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (*window, 3, 4))
    expected = jax.lax.conv_general_dilated(
        images, kernel, stride, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(as_product(images, kernel, stride), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"padding": "VALID"}, "padding is 'VALID'; expected 'SAME'"),
        ({"rhs_dilation": (2, 2)}, r"dilations are \(1, 1\) and \(2, 2\), groups 1; expected ones"),
        ({"feature_group_count": 3}, "groups 3; expected ones"),
    ],
)
def test_other_convolutions_are_refused(changed, message):
    plain = {"padding": "SAME", "lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "feature_group_count": 1}
    with pytest.raises(ValueError, match=message):
        convolve(jnp.zeros((1, 3, 3, 3)), jnp.zeros((3, 3, 3, 3)), window_strides=(1, 1), **plain | changed)
