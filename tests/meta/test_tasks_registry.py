"""Tasks by name, and what every one of them must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.data import IMAGE_DATASETS, SPLITS, TEXT_DATASETS
from celo.meta.tasks import META_TRAINING, TASKS, Quadratic, Task, make, parameter_shapes

ONE_OF_EACH = (
    "ImageMLP_Digits8_Tanh32_bs64",
    "ImageMLPAE_Digits8_32x16x32_bs64",
    "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16",
    "TransformerLM_pydocbytes_Patch32_Dim32_Layers2_bs16",
    "Quadratic",
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Make a task by name, each once."""
    cache = tmp_path_factory.mktemp("cache")
    made: dict[str, Task] = {"Quadratic": Quadratic.of([1.0, 2.0], noise=0.1)}

    def build(name, data_dir=None):
        if name not in made:
            made[name] = make(name, data_dir=data_dir, cache_dir=cache)
        return made[name]

    return build


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_contract(name, build, key):
    """Everything is traceable, deterministic and finite; a step against the gradient lowers the loss."""
    task = build(name)

    @jax.jit
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
    if name != "Quadratic":
        assert task.name == name


def test_names_have_known_data():
    for name, entry in TASKS.items():
        assert entry.dataset is None or entry.dataset in {**IMAGE_DATASETS, **TEXT_DATASETS}, name
        assert entry.family
    assert set(META_TRAINING) <= set(TASKS)


@pytest.mark.parametrize("name", ONE_OF_EACH[:-1])
def test_shapes_of_parameters_are_those_of_the_task(name, build, key):
    task = build(name)
    assert parameter_shapes(name) == jax.eval_shape(lambda k: task.init(k)[0], key)
