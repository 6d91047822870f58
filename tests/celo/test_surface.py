"""The public surface of the package."""

import importlib.metadata
import importlib.util
import inspect
import subprocess
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import celo
from celo import checkpoint
from celo._core import names
from celo.learned import base

REGISTRIES = ["HAND_DESIGNED", "LEARNED"]


@pytest.mark.parametrize("name", celo.LEARNED)
def test_every_learned_optimizer_has_a_typed_factory(name: str):
    """It takes the fields of the configuration, and gives what the configuration gives."""
    factory, learned = getattr(celo, name), celo.learned_optimizer(name)
    fields = set(names.options(celo.LEARNED[name]))
    rate = {"learning_rate", "weight_decay"} if name in ("celo2", "celo2_base") else set()
    arguments = set(inspect.signature(factory).parameters) - {"state_dtype", "kernels"}
    assert arguments == {"num_steps", "theta", *fields, *rate}
    options = {"learning_rate": 0.001} if rate else {}
    params = {"wte": jnp.ones((4, 3)), "b": jnp.ones(3)}
    defaults = {field: getattr(learned, field) for field in fields}

    def shapes(theta: Any) -> Any:
        ours = factory(10, theta=theta, **defaults, **options)
        theirs: Any = learned.optimizer(theta, 10)
        return ours.init(params), theirs.init(params)

    ours, theirs = jax.eval_shape(shapes, base.theta_shapes(learned))
    assert ours == theirs
    if name not in checkpoint.packaged():
        with pytest.raises(FileNotFoundError, match=rf"pretrained/{name}\.safetensors; give theta="):
            factory(10, **options)


@pytest.mark.parametrize("name", REGISTRIES)
def test_registries_are_read_only(name: str):
    registry = getattr(celo, name)
    assert isinstance(registry, types.MappingProxyType)
    with pytest.raises(TypeError):
        registry["mine"] = None  # pyright: ignore[reportIndexIssue]  # the point
    assert all(isinstance(key, str) and callable(registry[key]) for key in registry)


def test_no_function_hides_a_module():
    for name in celo.__all__:
        if callable(getattr(celo, name)):
            assert importlib.util.find_spec(f"celo.{name}") is None


def test_every_learned_optimizer_is_a_frozen_configuration():
    for name in celo.LEARNED:
        learned = celo.learned_optimizer(name)
        assert learned == celo.learned_optimizer(name)
        assert hash(learned) == hash(celo.learned_optimizer(name))
        with pytest.raises(AttributeError):
            learned.stage = 1  # pyright: ignore[reportAttributeAccessIssue]  # the point
        shapes = jax.eval_shape(learned.init, jax.random.key(0))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes)} == {"float32"}


def test_importing_celo_imports_no_extra():
    extras = [
        "huggingface_hub",
        "flax.nnx",
        "datasets",
        "PIL",
        "sklearn",
        "tyro",
        "wandb",
        "matplotlib",
        "pandas",
        "ray",
    ]
    program = f"import sys, celo; print([name for name in {extras} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
