"""Tasks by name, and what every one of them must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.compile import jit
from celo.meta.data import SPLITS
from celo.meta.tasks import Quadratic, make, parameter_shapes
from tests.meta.gradient_step import gradient_step

ONE_OF_EACH = (
    "ImageMLP_Digits8_Tanh32_bs64",
    "ImageMLPAE_Digits8_32x16x32_bs64",
    "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16",
    "TransformerLM_pydocbytes_Patch32_Dim32_Layers2_bs16",
    "Quadratic",
)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_contract(name, key, tmp_path):
    """Everything is traceable, deterministic and finite; a step against the gradient lowers the loss."""
    quadratic = name == "Quadratic"
    task = Quadratic.of([1.0, 2.0], noise=0.1) if quadratic else make(name, cache_dir=tmp_path)

    found = jit(gradient_step)(task, key)
    assert jax.tree.structure(found.state) == jax.tree.structure(found.new_state)
    numbers = jax.tree.leaves((found.params, found.grads))
    assert all(leaf.dtype == jnp.float32 for leaf in numbers)
    assert all(np.isfinite(leaf).all() for leaf in (*numbers, found.loss))
    assert all(value.shape == () for value in found.aux.values())
    assert found.lower < found.loss
    shapes = [jax.eval_shape(lambda k, split=split: task.batch(k, split), key) for split in SPLITS]
    assert all(shape == shapes[0] for shape in shapes)

    bad = task.normalizer(jnp.array([jnp.nan, jnp.inf, -jnp.inf, -1.0]))
    assert np.isfinite(bad).all()
    assert bad[0] == bad[1] > 0
    assert bad[2] == bad[3] == 0
    if not quadratic:
        assert task.name == name
        assert parameter_shapes(name) == jax.eval_shape(lambda k: task.init(k)[0], key)
