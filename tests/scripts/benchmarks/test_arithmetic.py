"""Operations counted against closed forms; the peak against bounds."""

import math

import jax
import jax.numpy as jnp
import pytest

from celo.evaluation.plan import EvaluatedTraining
from celo.meta.tasks import make
from celo.meta.tasks.layers import dense
from celo.scripts.benchmarks.arithmetic import peak_gigaflops, product_operations, training_operations


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def convolution(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def repeated(x):
    return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, length=7)[0]


def chosen(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)


@pytest.mark.parametrize(
    ("function", "args", "operations"),
    [
        (lambda x, y: x @ y, (shape(2, 3), shape(3, 5)), 2 * 2 * 3 * 5),
        (lambda x, y: jnp.einsum("bij,bjk->bik", x, y), (shape(4, 2, 3), shape(4, 3, 5)), 4 * 60),
        (lambda x: jnp.tanh(x) * x + 1.0, (shape(8, 8),), 0),
        (convolution, (shape(2, 8, 8, 3), shape(3, 3, 3, 5)), 2 * 2 * 8 * 8 * 5 * 3 * 3 * 3),
        (repeated, (shape(4, 4),), 7 * 2 * 64),
        (chosen, (shape(4, 4),), 2 * 2 * 64),
        (lambda x: jax.jit(lambda x: (x @ x, x + 1.0))(x)[1], (shape(4, 4),), 0),
        (lambda x: jax.lax.scan(lambda c, _: (c + 1.0, c @ c), x, length=7)[0], (shape(4, 4),), 0),
        (jax.grad(lambda w, x: jnp.sum(dense(x, w))), (shape(3, 5), shape(2, 3)), 2 * 2 * 3 * 5),
    ],
)
def test_products_and_convolutions_count(function, args, operations):
    assert product_operations(function, *args) == operations


def test_a_loop_of_unknown_length_cannot_be_counted():
    def loop(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="not countable"):
        product_operations(loop, shape(4, 4))


def test_a_training_is_its_steps_and_evaluations():
    """A step is three products per layer but one, as inputs need no gradient; a judged batch is one."""
    task, plan = make("ImageMLP_Digits8_Relu32_bs64"), EvaluatedTraining(20, every=10, batches=5)
    kernels = [math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(task)) if len(leaf.shape) == 2]
    forward = 2 * 64 * sum(kernels)
    step = 3 * forward - 2 * 64 * kernels[0]
    judged = 3 * 3 * 5 + 10  # three evaluations of three splits of five batches, and the final loss of ten
    assert training_operations(task, plan) == 20 * step + judged * forward


def shapes(task):
    return jax.eval_shape(task.init, jax.random.key(0))[0]


def test_the_peak_is_more_than_nothing_and_less_than_any_processor():
    assert 0.1 < peak_gigaflops(size=128, seconds=0.05) < 1e6
