"""The public surface of the package: what there is, and that it is found where it is said to be."""

import importlib
import importlib.metadata
import inspect
import subprocess
import sys
import types

import jax
import pytest

import celo

FUNCTIONS = ["celo", "eval_params", "hand_designed", "learned_optimizer", "load", "save"]
REGISTRIES = ["HAND_DESIGNED", "LEARNED"]


def test_nothing_is_missing_and_nothing_is_added_in_silence():
    assert sorted(celo.__all__) == sorted([*FUNCTIONS, *REGISTRIES, "__version__", "interop", "wrappers"])
    assert all(hasattr(celo, name) for name in celo.__all__)
    functions = ["encode", "from_upstream", "recognise", "to_upstream"]
    assert sorted(celo.interop.__all__) == ["AmbiguousError", "LAYOUTS", *functions]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_takes(name: str):
    function = getattr(celo, name)
    assert isinstance(function, types.FunctionType)
    text = inspect.getdoc(function) or ""
    assert "Args:" in text
    assert "Returns:" in text or inspect.signature(function).return_annotation == "None"
    assert all(f"{argument}:" in text for argument in inspect.signature(function).parameters)


@pytest.mark.parametrize("name", REGISTRIES)
def test_registries_are_read_only(name: str):
    registry = getattr(celo, name)
    assert isinstance(registry, types.MappingProxyType)
    with pytest.raises(TypeError):
        registry["mine"] = None  # pyright: ignore[reportIndexIssue]  # the point
    assert all(isinstance(key, str) and callable(registry[key]) for key in registry)


def test_functions_named_like_modules_do_not_hide_them():
    """`celo.hand_designed` is a function, and a package of that name is imported from all the same."""
    for name in ("celo.hand_designed", "celo.learned.celo", "celo.interop.celo"):
        assert isinstance(importlib.import_module(name), types.ModuleType)
    assert callable(celo.celo)
    assert callable(celo.hand_designed)


def test_every_learned_optimizer_is_a_frozen_configuration():
    for name in celo.LEARNED:
        learned = celo.learned_optimizer(name)
        assert learned == celo.learned_optimizer(name)
        assert hash(learned) == hash(celo.learned_optimizer(name))
        with pytest.raises(AttributeError):
            learned.stage = 1  # pyright: ignore[reportAttributeAccessIssue]  # the point
        shapes = jax.eval_shape(learned.init, jax.random.key(0))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(shapes)} == {"float32"}


def test_the_version_is_that_of_the_installation():
    assert celo.__version__ == importlib.metadata.version("celo")


def test_importing_celo_imports_no_extra():
    extras = ["huggingface_hub", "datasets", "PIL", "sklearn", "tyro", "wandb", "matplotlib", "pandas", "ray"]
    program = f"import sys, celo; print([name for name in {extras} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
