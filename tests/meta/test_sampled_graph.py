"""What sampled tasks choose inside the graph: activations, initialisers, losses of reconstruction."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.tasks.sampled import graph
from celo.meta.tasks.sampled.distributions import (
    Choice,
    LogFloat,
    LogInt,
    Sometimes,
    Uniform,
    configure,
    draw,
)
from celo.meta.tasks.sampled.images import ImageAutoencoderFamily
from celo.meta.tasks.sampled.reconstruction import BIN, normal_divergence, quantised_normal

INPUTS = np.array([-3.0, -0.5, 0.0, 0.7, 8.0])
EXPECTED = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "tanh": np.tanh,
    "cos": np.cos,
    "sin": np.sin,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "leaky_relu": lambda x: np.where(x > 0, x, -0.5 * x),
}


def test_activations():
    """Each number gives the function of its name, in one program."""
    numbers = jnp.arange(len(graph.ACTIVATIONS), dtype=jnp.int32)
    inputs = jnp.asarray(INPUTS, jnp.float32)
    found = jax.jit(jax.vmap(lambda number: graph.activation(number)(inputs)))(numbers)
    assert set(graph.ACTIVATIONS) == set(EXPECTED)
    for name, values in zip(graph.ACTIVATIONS, found, strict=True):
        np.testing.assert_allclose(values, EXPECTED[name](INPUTS), atol=1e-5, err_msg=name)


def test_an_activation_not_chosen_leaves_the_gradient_alone():
    """At 1e20 the gradient of gelu overflows; that of ReLU beside it is 1."""
    slope = jax.vmap(lambda number: jax.grad(lambda x: graph.activation(number)(x))(jnp.float32(1e20)))
    assert slope(jnp.zeros(2, jnp.int32)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(3, 3, 40, 90), (600, 80)])
def test_initialisers(shape):
    """Standard deviations follow the fan-in and the scale; an orthogonal kernel is one."""
    fan_in, scale = math.prod(shape[:-1]), 1.7
    numbers = jnp.arange(len(graph.INITIALIZERS), dtype=jnp.int32)
    draw_kernel = jax.jit(jax.vmap(lambda i: graph.kernel(jax.random.key(0), shape, i, jnp.float32(scale))))
    kernels = np.asarray(draw_kernel(numbers), np.float64).reshape(len(numbers), fan_in, shape[-1])
    for name, kernel in zip(graph.INITIALIZERS, kernels, strict=True):
        if name == "orthogonal":
            np.testing.assert_allclose(kernel.T @ kernel, scale**2 * np.eye(shape[-1]), atol=1e-4)
            continue
        deviation = scale / math.sqrt(fan_in) if name == "uniform" else math.sqrt(scale / fan_in)
        np.testing.assert_allclose(kernel.std(), deviation, rtol=0.02)
        if name.startswith("uniform"):
            assert np.abs(kernel).max() <= deviation * math.sqrt(3) * (1 + 1e-6)


def test_only_kernels_of_the_layers_are_drawn():
    params = {
        "conv_0": {"kernel": jnp.zeros((3, 3, 1, 4)), "bias": jnp.zeros(4)},
        "linear": {"w": jnp.zeros((4, 2))},
    }
    dynamic = {"initializer": jnp.int32(2), "init_scale": jnp.float32(1.0)}
    drawn = graph.initialize(jax.random.key(0), params, dynamic, ("conv",))
    assert np.any(drawn["conv_0"]["kernel"])
    assert not np.any(drawn["conv_0"]["bias"])
    assert not np.any(drawn["linear"]["w"])
    assert graph.initialize(jax.random.key(0), params, {}, ("conv",)) is params


def test_distributions():
    """Closed forms of the quantiles; a value depends on its own name and the key alone."""
    assert [LogInt(4, 512).at(u) for u in (0.0, 1 / 7, 0.5, 0.999999)] == [4, 8, 45, 511]
    assert LogFloat(1e-5, 1.0).at(0.4) == pytest.approx(1e-3)
    assert [Choice(("a", "b", "c")).at(u) for u in (0.0, 0.34, 0.99)] == ["a", "b", "c"]
    u = jnp.linspace(0, 0.999, 1000)
    np.testing.assert_array_equal(Choice(("a", "b", "c")).leaf(u), np.floor(3 * np.asarray(u)))
    np.testing.assert_allclose(Uniform(0.5, 2.0).leaf(u), 0.5 + 1.5 * u)
    share = Sometimes(0.2, 0.0, 1.0).leaf(u)
    assert np.mean(share < 1) == pytest.approx(0.2, abs=0.002)
    np.testing.assert_allclose(share[:200], 5 * u[:200], rtol=1e-6)
    key = jax.random.key(3)
    ranges = {"a": LogInt(4, 512), "b": LogInt(8, 64)}
    assert configure(key, ranges)["b"] == configure(key, {"b": ranges["b"]})["b"]
    assert float(draw(key, {"c": Uniform(0.0, 1.0)})["c"]) == configure(key, {"c": Uniform(0.0, 1.0)})["c"]


def test_bins_of_a_quantised_normal_sum_to_one():
    centres = jnp.arange(-3 * 255, 4 * 255, dtype=jnp.float32) * BIN
    probabilities = jnp.exp(quantised_normal(centres, jnp.float32(0.4), jnp.log(jnp.float32(0.3))))
    np.testing.assert_allclose(jnp.sum(probabilities), 1.0, rtol=1e-4)


def test_divergence_from_the_standard_normal():
    """Against the mean of the log-ratio over samples, and zero for the standard normal itself."""
    mean, log_deviation = 0.6, math.log(0.5)
    z = mean + math.exp(log_deviation) * np.random.default_rng(0).standard_normal(200_000)
    ratio = -0.5 * ((z - mean) / math.exp(log_deviation)) ** 2 - log_deviation + 0.5 * z**2
    np.testing.assert_allclose(
        normal_divergence(jnp.float32(mean), jnp.float32(log_deviation)), ratio.mean(), atol=0.01
    )
    assert normal_divergence(jnp.float32(0), jnp.float32(0)) == 0


@pytest.mark.parametrize("flags", range(8))
def test_autoencoder_loss(flags, key):
    """All eight losses in numpy, and their normaliser."""
    log_loss, centre, constrain = (bool(flags >> i & 1) for i in range(3))
    family = ImageAutoencoderFamily()
    configuration = {**family.configure(key), "num_layers": 0, "image_size": 4, "dataset": "digits"}
    names = ("log_loss", "center_data", "constrain_output")
    dynamic = {n: jnp.int32(f) for n, f in zip(names, (log_loss, centre, constrain), strict=True)}
    task = family.entry(configuration, {**family.draw(key), **dynamic}).blank("")
    params, _ = task.init(key)
    image = jax.random.uniform(key, (5, 16))
    x = np.asarray(image, np.float64) * (2 if centre else 1) - (1 if centre else 0)
    layer = params["mlp"]["linear_0"]
    y = x @ np.asarray(layer["w"], np.float64) + np.asarray(layer["b"])
    if constrain:
        y = np.tanh(y) if centre else 1 / (1 + np.exp(-y))
    rows = ((y - x) ** 2).reshape(5, 4, 4, 1).mean(axis=1)
    expected = np.log(rows + 1e-8).mean() if log_loss else rows.mean()
    loss = task.loss(params, (), key, {"image": image})[0]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    logarithm = expected if log_loss else math.log(expected + 1e-8)
    np.testing.assert_allclose(task.normalizer(loss), 0.5 * np.clip(logarithm, -12, 1) + 10, rtol=1e-4)
