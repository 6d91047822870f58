"""Tasks by name, and what every one of them must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.compile import jit
from celo.meta.data import SPLITS
from celo.meta.tasks import Quadratic, make, parameter_shapes

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

    @jit
    def run(task, key):
        params, state = task.init(key)
        batch = task.batch(key, "train")

        def objective(params):
            loss, new_state, aux = task.loss(params, state, key, batch)
            return loss, (new_state, aux)

        (loss, (new_state, aux)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        stepped = jax.tree.map(lambda p, g: p - 1e-2 * g, params, grads)
        return params, state, new_state, loss, objective(stepped)[0], aux, grads

    params, state, new_state, loss, lower, aux, grads = run(task, key)
    assert jax.tree.structure(state) == jax.tree.structure(new_state)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, grads)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, loss, grads)))
    assert all(value.shape == () for value in aux.values())
    assert lower < loss
    shapes = [jax.eval_shape(lambda k, split=split: task.batch(k, split), key) for split in SPLITS]
    assert all(shape == shapes[0] for shape in shapes)

    bad = task.normalizer(jnp.array([jnp.nan, jnp.inf, -jnp.inf, -1.0]))
    assert np.isfinite(bad).all()
    assert bad[0] == bad[1] > 0
    assert bad[2] == bad[3] == 0
    if not quadratic:
        assert task.name == name
        assert parameter_shapes(name) == jax.eval_shape(lambda k: task.init(k)[0], key)
