"""One sharded step of an optimizer on eight devices against the step on one device.

``python -m tests.celo.sharded_steps NAME`` prints JSON per layout: the collective operations of the compiled
step, the leaves whose sharding differs from that of their parameter, and the largest difference from the step
on one device. It needs a separate process, whose number of devices XLA_FLAGS sets.
"""

import json
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import celo
from tests.celo.contract import quick_jit

Tree = Any

SHAPES = {"large": (128, 256), "q": (64, 64), "k": (64, 64), "o": (64, 64), "bias": (64,), "norm": (64,)}
BOTH = ("data", "model")
LAYOUTS = {
    "fsdp": dict.fromkeys(SHAPES, PartitionSpec(BOTH)),
    "tensor": {
        "large": PartitionSpec("data", "model"),
        **{name: PartitionSpec("data", "model") for name in "qk"},
        "o": PartitionSpec("model", "data"),
        "bias": PartitionSpec("model"),
        "norm": PartitionSpec(),
    },
}
COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter)(?:-start)?\("
)


def tree(seed: int) -> Tree:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}


def difference(found: Tree, expected: Tree) -> float:
    """The largest over leaves of the largest difference, relative to the largest entry of the leaf."""

    def of(a: Any, b: Any) -> float:
        a, b = np.asarray(a), np.asarray(b)
        return float(np.max(np.abs(a - b)) / max(1e-30, np.max(np.abs(b))))

    return max(jax.tree.leaves(jax.tree.map(of, found, expected)))


def misplaced(result: Tree, placement: dict[str, NamedSharding]) -> list[str]:
    """Leaves with the shape of their parameter and another sharding."""
    wrong = []
    for path, x in jax.tree_util.tree_leaves_with_path(result):
        name = str(getattr(path[-1], "key", ""))
        of_its_shape = name in SHAPES and x.shape == SHAPES[name]
        if of_its_shape and not x.sharding.is_equivalent_to(placement[name], x.ndim):
            wrong.append(jax.tree_util.keystr(path))
    return wrong


def main(name: str) -> None:
    learned = celo.learned_optimizer(name)
    optimizer = learned.optimizer(learned.init(jax.random.key(0)), 100)
    mesh = jax.make_mesh((2, 4), BOTH, axis_types=(AxisType.Auto,) * 2)
    params, grads = tree(0), tree(1)

    def update(grads: Tree, state: Tree, params: Tree) -> Tree:
        return optimizer.update(grads, state, params, value=jnp.float32(0.7))

    expected = quick_jit(update)(grads, optimizer.init(params), params)
    report = {}
    for layout, specs in LAYOUTS.items():
        placement = {n: NamedSharding(mesh, spec) for n, spec in specs.items()}
        placed, placed_grads = (jax.device_put(t, placement) for t in (params, grads))
        state = optimizer.init(placed)
        with jax.set_mesh(mesh):
            compiled = quick_jit(update).lower(placed_grads, state, placed).compile()
        result = compiled(placed_grads, state, placed)
        report[layout] = {
            "collectives": sorted({kind for _, kind in COLLECTIVE.findall(compiled.as_text() or "")}),
            "misplaced": misplaced((state, *result), placement),
            "difference": difference(result, expected),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
