"""Products of matrices in their fast forms are products of matrices, and so are their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.tasks.layers import WIDE, apply_mlp, apply_mlp_by_rows, dense, dot_general, init_mlp, is_wide

SIZES = (3, 1100)  # inputs of few features, and of enough that they are copied


def drawn(key, features, units=4, batch=5):
    keys = jax.random.split(key, 3)
    shapes = (batch, features), (features, units), (batch, units)
    return [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), found, expected)


@pytest.mark.parametrize("features", SIZES)
def test_dense_and_its_gradients_are_those_of_the_product(key, features):
    inputs, weights, g = drawn(key, features)
    found, backward = jax.vjp(dense, inputs, weights)
    close(found, inputs @ weights)
    close(backward(g), (g @ weights.T, inputs.T @ g))


@pytest.mark.parametrize("features", SIZES)
@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)], ids=str)
def test_dense_maps(key, features, axes):
    """Over trainings that share their batch, that share their weights, and that share neither."""
    inputs, weights, _ = drawn(key, features)
    stacked = [
        x if axis is None else jnp.stack([x, 2 * x]) for x, axis in zip((inputs, weights), axes, strict=True)
    ]

    def loss(product, x, w):
        return jnp.sum(jnp.sin(product(x, w)))

    mapped = [
        jax.vmap(jax.grad(lambda x, w, p=product: loss(p, x, w), argnums=(0, 1)), axes)(*stacked)
        for product in (dense, jnp.matmul)
    ]
    close(*mapped)


@pytest.mark.parametrize("features", SIZES)
def test_a_gradient_may_be_differentiated(key, features):
    """As a task does that trains a learned optimizer through the steps of a perceptron."""
    inputs, weights, _ = drawn(key, features)

    def after_a_step(product, rate):
        def loss(w):
            return jnp.mean(jnp.square(product(inputs, w)))

        return loss(weights - rate * jax.grad(loss)(weights))

    found, expected = (
        jax.value_and_grad(lambda rate, p=product: after_a_step(p, rate))(0.01)
        for product in (dense, jnp.matmul)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("features", [WIDE - 1, WIDE])
def test_layers_by_rows_are_layers_by_columns(key, features):
    params = init_mlp(key, (features, 7, 3))
    inputs = jax.random.normal(key, (5, features))
    assert is_wide(inputs) == (features == WIDE)

    def by_hand(params):
        hidden = jnp.tanh(inputs @ params["linear_0"]["w"] + params["linear_0"]["b"][None, :])
        return hidden @ params["linear_1"]["w"] + params["linear_1"]["b"][None, :]

    for outputs in (
        lambda params: apply_mlp(params, inputs, "tanh").T,
        lambda params: apply_mlp_by_rows(params, inputs, "tanh"),
    ):
        close(outputs(params), by_hand(params))
        gradients = (jax.grad(lambda p, f=f: jnp.sum(jnp.square(f(p))))(params) for f in (outputs, by_hand))
        close(*gradients)


@pytest.mark.lenient(reason="mixes dtypes on purpose")
def test_dtypes_and_precision_are_those_of_the_library(key):
    inputs, weights, _ = drawn(key, SIZES[1])
    half = weights.astype(jnp.bfloat16)
    assert jax.grad(lambda w: jnp.sum(dense(inputs, w)))(half).dtype == jnp.bfloat16
    for x, w in ((inputs, weights), (inputs.astype(jnp.bfloat16), half)):
        assert dense(x, w).dtype == x.dtype
        assert {leaf.dtype for leaf in jax.grad(lambda p: jnp.sum(dense(*p)))((x, w))} == {x.dtype}
    wanted = {"precision": None, "preferred_element_type": jnp.float32}
    assert dot_general(half.T, half, (((1,), (0,)), ((), ())), **wanted).dtype == jnp.float32
