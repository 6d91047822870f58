"""How many floating-point operations a program does, and how many per second this machine can do.

Only products of matrices and convolutions count; they are nearly all of the work of training a network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from celo.baselines import hand_designed
from celo.evaluation.plan import SPLITS, EvaluatedTraining
from celo.meta.full_training import FINAL_BATCHES, begin, evaluate, take_step
from celo.meta.tasks.base import Task


def product_operations(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the products of matrices and the convolutions in a function.

    A product of (m, k) and (k, n) is 2 m n k operations. The body of a scan counts as often as it runs, the
    most expensive branch of a condition once, an operation that no result depends on not at all. Zeros that
    spread the gradient of a strided convolution count like any number.

    Args:
        function: a function to trace; it does not run.
        args: its arguments, arrays or their shapes.

    Raises:
        ValueError: a loop with products has a length that only its run decides.

    Example:
        >>> x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
        >>> product_operations(lambda x: x @ x.T, x)
        24
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    # The compiler drops what no result depends on, such as gradients of inputs that nobody reads.
    return _count(partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def training_operations(task: Task, plan: EvaluatedTraining) -> int:
    """`product_operations` of a training by Adam with its evaluations and its final loss."""
    optimizer, key = hand_designed("adam", 1e-3), jax.random.key(0)
    position = jax.eval_shape(partial(begin, task, optimizer), key)
    sample = jax.eval_shape(partial(task.sample, split="train"), key)
    step = product_operations(partial(take_step, task, optimizer), position, sample, key)
    batch = product_operations(
        lambda position, key: evaluate(task, position.params, position.model_state, key, batches=1),
        position,
        key,
    )
    batches = plan.evaluations * len(SPLITS) * plan.batches + FINAL_BATCHES
    return plan.num_steps * step + batches * batch


def peak_gigaflops(size: int = 1024, seconds: float = 1.0) -> float:
    """10^9 operations a second that products of two float32 matrices reach on all of JAX's devices at once.

    Args:
        size: rows and columns of the matrices.
        seconds: how long to multiply, at least.
    """
    product = jax.jit(jnp.matmul)
    matrices = [jax.device_put(jnp.ones((size, size), jnp.float32), device) for device in jax.devices()]
    jax.block_until_ready([product(x, x) for x in matrices])
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        jax.block_until_ready([product(x, x) for x in matrices])
        rounds += 1
    return 2e-9 * size**3 * rounds * len(matrices) / (time.perf_counter() - start)


def _count(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        return 2 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval, equation.outvars[0].aval
        outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(out.shape) * math.prod(kernel.shape) // outputs
    inner = [_count(jaxpr) for jaxpr in _inside(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "while" and sum(inner):
        raise ValueError(
            "a loop with products of matrices has no fixed length, so its operations are not countable"
        )
    return max(inner, default=0) if name == "cond" else sum(inner)


def _inside(params: dict[str, Any]) -> Iterator[Any]:
    """The programs among the parameters of an operation."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)  # a closed one holds it
            if hasattr(part, "eqns"):
                yield part
