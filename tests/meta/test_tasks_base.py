"""Drawing batches and stacking tasks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.data import SPLITS, ImageData, ImageSplit
from celo.meta.tasks import ImageAutoencoder, ImageMLP, Quadratic, stack_tasks
from celo.meta.tasks.base import Examples, draw_indices, scale_bits

WORD = 2**32
ONE = Quadratic.of([1.0])


def toy(train, name="toy", classes=4, dtype: type[np.unsignedinteger] = np.uint8, level=255, pixels=2):
    """Images whose pixels and labels are never 0, so that padding would show."""
    rng = np.random.default_rng(train)

    def split(n):
        images = rng.integers(1, level + 1, (n, pixels, pixels, 1)).astype(dtype)
        return ImageSplit(images, rng.integers(1, classes, n).astype(np.int32))

    return ImageData(
        name, {split_name: split(train + i) for i, split_name in enumerate(SPLITS)}, classes, level
    )


@given(
    bits=st.lists(st.integers(0, WORD - 1) | st.sampled_from([0, 1, WORD - 1, 2**16, 2**16 - 1]), min_size=1),
    size=st.integers(1, 2**31 - 1) | st.sampled_from([1, 2, 2**16, 2**16 - 1, 2**16 + 1, 2**31 - 1]),
)
def test_scaled_bits_are_the_upper_word_of_the_product(bits, size):
    padded = np.resize(np.array(bits, np.uint32), 16)  # one shape: one compilation
    scaled = np.asarray(scale_bits(jnp.asarray(padded), jnp.asarray(size, jnp.int32)))
    np.testing.assert_array_equal(scaled, [int(bit) * size // WORD for bit in padded])
    assert 0 <= scaled.min() <= scaled.max() < size


@given(size=st.integers(1, 40), seed=st.integers(0, 2**31 - 1))
def test_drawn_indices_cover_the_examples_and_only_them(size, seed):
    indices = np.asarray(draw_indices(jax.random.key(seed), jnp.asarray(size), (2000,)))
    assert indices.dtype == np.int32
    assert set(indices.tolist()) == set(range(size))


def test_a_stack_is_each_of_its_tasks(key):
    """Sets of different length, width of integers and white level: same batches, losses and gradients."""
    tasks = [
        ImageMLP.of(data, hidden=(3,), batch_size=16)
        for data in (toy(7), toy(30, dtype=np.uint16, level=4080))
    ]
    keys = jax.random.split(key, len(tasks))

    def run(task, key):
        params, state = task.init(key)
        batch = task.batch(key, "train")
        loss = jax.value_and_grad(lambda p: task.normalizer(task.loss(p, state, key, batch)[0]))(params)
        return batch, loss

    together = jax.jit(jax.vmap(run))(stack_tasks(tasks), keys)
    for i, task in enumerate(tasks):
        alone = jax.jit(run)(task, keys[i])
        many = jax.tree.map(lambda x, i=i: x[i], together)
        jax.tree.map(np.testing.assert_array_equal, many[0], alone[0])
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
        jax.tree.map(close, many[1], alone[1])


@pytest.mark.parametrize("split", SPLITS)
def test_padding_is_never_drawn(split, key):
    """The padding is zero, and no pixel or label of these sets is."""
    stacked = stack_tasks([ImageMLP.of(toy(n), batch_size=500) for n in (5, 8, 40)])
    batch = jax.vmap(lambda task, k: task.batch(k, split))(stacked, jax.random.split(key, 3))
    assert np.asarray(batch["label"]).min() >= 1
    assert np.asarray(batch["image"]).min() > 0
    padded = stacked.data.splits[split].arrays["label"]
    assert (np.asarray(padded)[0] == 0).any()


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (lambda: [], "at least one task, got none"),
        (lambda: [ImageMLP.of(toy(9)), ImageMLP.of(toy(9), hidden=(16,))], "structures differ"),
        (lambda: [ImageMLP.of(toy(9)), ImageMLP.of(toy(9, classes=5))], "structures differ"),
        (lambda: [ImageMLP.of(toy(9)), ImageAutoencoder.of(toy(9))], "structures differ"),
        (lambda: [ImageMLP.of(toy(9)), ImageMLP.of(toy(9, pixels=3))], r"shapes .* differ"),
        (lambda: [Quadratic.of([1.0, 2.0]), Quadratic.of([1.0])], r"shapes .* differ: \[\(2,\), \(1,\)\]"),
        (lambda: [ONE, dataclasses.replace(ONE, curvature=jnp.array([1]))], "one of their arrays has dtypes"),
        (lambda: [Examples.of({"a": np.zeros(3), "b": np.zeros(2)})], r"got lengths {'a': 3, 'b': 2}"),
        (lambda: [Examples.of({"a": np.zeros(0)})], r"got lengths {'a': 0}"),
    ],
)
def test_what_does_not_stack(tasks, message):
    with pytest.raises(ValueError, match=message):
        stack_tasks(tasks())
