"""A user's own task, named `module:object`: the defaults it inherits, and errors for a wrong one."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.tasks import ESWrapped, check_name, make, parameter_shapes, stack_tasks
from celo.meta.tasks.registry import find

SOURCE = """
import jax
import jax.numpy as jnp
from ripple_parts import WIDTH
from celo.meta.tasks import Task, pytree, static

@pytree
class Ripple(Task):
    width: int = static(default=WIDTH)
    top: float = 3.0
    loss_unit = "mean squared error"

    def init(self, key):
        first, last = jax.random.normal(key, (2, self.width))
        return {"first": first, "bias": jnp.zeros(self.width), "last": last}, ()

    def batch(self, key, split):
        x = jax.random.uniform(key, (64, 1), minval=-self.top, maxval=self.top)
        return {"x": x, "y": jnp.sin(x[:, 0])}

    def loss(self, params, model_state, key, batch):
        hidden = jnp.tanh(batch["x"] * params["first"][None] + params["bias"][None])
        return jnp.mean((hidden @ params["last"] - batch["y"]) ** 2), model_state, {}

class Undecorated(Ripple):
    pass

@pytree
class Lossless(Task):
    def init(self, key):
        return {}, ()

class Foreign:
    def loss(self):
        pass

task = Ripple()
undecorated, lossless, foreign, number = Undecorated(), Lossless(), Foreign(), 3

def made():
    return Ripple(8)

def read(data_dir):
    return Ripple(len(str(data_dir)))

def failing():
    raise OSError("no such file")

def greedy(a, b):
    return Ripple()

class Nested:
    task = task
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user in the working folder, which is not on the path."""
    (tmp_path / "ripple.py").write_text(SOURCE)
    (tmp_path / "ripple_parts.py").write_text("WIDTH = 16\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needy.py").write_text("import a_module_of_nobody\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    assert sys.path == before
    for name in ("ripple", "ripple_parts"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "width"),
    [
        (f"ripple:{o}", n)
        for o, n in (("task", 16), ("made", 8), ("read", 4), ("Ripple", 16), ("Nested.task", 16))
    ],
)
def test_objects_and_functions(name, width, key):
    check_name(name)
    task = make(name, data_dir="abcd")
    assert task.name == name
    assert (task.corpus, task.vocabulary, task.loss_unit) == ("", "", "mean squared error")
    assert find(name).loss_unit == "mean squared error"
    if name != "ripple:read":
        assert parameter_shapes(name)["bias"].shape == (width,)
    params, state = task.init(key)
    assert params["bias"].shape == (width,)
    sample = task.sample(key, "train")
    batch = task.gather("train", sample)
    jax.tree.map(np.testing.assert_array_equal, batch, task.batch(key, "train"))
    loss, _, _ = jax.jit(lambda task, params: task.loss(params, state, key, batch))(task, params)
    assert task.normalizer(loss) == loss
    np.testing.assert_array_equal(task.normalizer(jnp.array([jnp.nan, jnp.inf, -jnp.inf])), [1e6, 1e6, -1e6])
    with pytest.raises(ValueError, match="split must be one of"):
        task.sample(key, "valid")


@pytest.mark.usefixtures("module")
def test_it_stacks_and_is_wrapped(key):
    tasks = [make("ripple:task"), make("ripple:Ripple")]
    stacked = stack_tasks(tasks)
    assert stacked.name == "ripple:task+ripple:Ripple"
    losses = jax.vmap(
        lambda task, key: task.loss(task.init(key)[0], (), key, task.batch(key, "train"))[0],
        (0, 0),
        axis_size=2,
    )(stacked, jax.random.split(key))
    assert losses.shape == (2,)
    wrapped = ESWrapped.of(tasks[0])
    assert (wrapped.name, wrapped.loss_unit) == ("ESWrapped_1pair_ripple:task", "mean squared error")
    assert wrapped.batch(key, "test")["x"].shape == (64, 1)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("riple:task", r"cannot import 'riple' .*No module named 'riple'\)\. Looked in the working folder /"),
        ("no.module:task", "cannot import 'no.module' .*No module named 'no'"),
        ("broken:task", "cannot import 'broken' .*ZeroDivisionError: division by zero"),
        ("needy:task", "cannot import 'needy' .*No module named 'a_module_of_nobody'"),
        ("ripple:tsk", r"has no 'tsk'\. Did you mean 'task'"),
        ("ripple:failing", "the function raised OSError: no such file"),
        ("ripple:greedy", "must take no arguments or data_dir alone; it requires a, b"),
        ("ripple:number", "expected a celo.meta.tasks.Task .* got 3 of int; it lacks init, loss, batch"),
        ("ripple:foreign", r"of Foreign; it lacks init, batch \(or sample and gather\)"),
        ("ripple:lossless", r"of Lossless; it lacks loss, batch \(or sample and gather\)"),
        ("ripple:undecorated", "decorate Undecorated with celo.meta.tasks.pytree"),
    ],
)
def test_wrong_objects(name, message):
    check_name(name)
    with pytest.raises(ValueError, match=message):
        make(name)


@pytest.mark.parametrize(
    "name", ["ripple:", ":task", "a:b:c", "a b:c", "../ripple:task", "ripple.py:task", "a:1"]
)
def test_malformed_names(name):
    message = "module:object" if name != "ripple.py:task" else "cannot import"
    with pytest.raises(ValueError, match=message):
        make(name)


@pytest.mark.parametrize("call", [check_name, make, parameter_shapes])
@pytest.mark.parametrize(
    ("name", "nearest"),
    [("ImageMLP_Digits8_Relu33", "ImageMLP_Digits8_Relu32_bs64"), ("", ""), (None, ""), (3, "")],
)
def test_unknown_names(call, name, nearest):
    with pytest.raises(ValueError, match=f"Unknown task {name!r}.*{nearest}"):
        call(name)
