"""Where do a learned optimizer's weights break? `python -m scripts.studies.robustness --json OUT.json`.

One small perceptron on Fashion-MNIST, and changes to it one at a time: horizon, batch, width, scale of the
initial parameters, activation, skip connections, norms, a last layer that starts at zero, bfloat16, a
convolutional network, a transformer. Each is trained by the weights as they are and by Adam at the best of a
few rates. The score is the ratio of final losses, Adam's over the learned optimizer's: above 1 it is better.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.ticker import NullFormatter

import celo
from celo._core.files import write_atomically
from celo._core.names import lookup
from celo.baselines import hand_designed
from celo.evaluation.report import style
from celo.evaluation.report.table import Table
from celo.meta.data import load_images
from celo.meta.full_training import evaluate_end, train
from celo.meta.tasks import ImageClassifier, ImageMLP, Task, make, networks, pytree, static
from celo.meta.tasks.base import Loss
from celo.meta.tasks.convnet import ConvNet
from celo.meta.tasks.wrapped import Wrapped
from celo.scripts import checks
from celo.scripts.benchmarks.picture import save

STEPS, BATCH, WIDTH = 2000, 64, 32
FINAL_BATCHES = 50
RATES = tuple(10.0 ** (k / 2) for k in range(-7, -1))  # 3e-4 to 0.1


class Network(nn.Module):
    """A perceptron with two hidden layers and what a case changes.

    Attributes:
        act: "gelu", "tanh" or "relu".
        skip: whether the second hidden layer is added to its input.
        norm: whether a layer norm precedes each activation.
        zero: whether the last layer starts at zero.
        num_classes: number of outputs.
    """

    act: str = "relu"
    skip: bool = False
    norm: bool = False
    zero: bool = False
    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images."""
        x = images.reshape(len(images), -1)
        for i in range(2):
            y = networks.dense(WIDTH, f"linear_{i}")(x)
            y = networks.norm("layer_norm", f"norm_{i}")(y) if self.norm else y
            y = {"gelu": nn.gelu, "tanh": jnp.tanh, "relu": nn.relu}[self.act](y)
            x = x + y if self.skip and i else y
        start = nn.initializers.zeros if self.zero else networks.kernel_init
        return nn.Dense(self.num_classes, kernel_init=start, name="out")(x)


@pytree
class Changed(Wrapped):
    """A task whose initial parameters are scaled, and stored in another type."""

    scale: float = static(default=1.0)
    dtype: str = static(default="float32")

    def init(self, key: jax.Array) -> Any:
        """Draw, scale and cast the parameters."""
        params, model_state = self.task.init(key)
        return jax.tree.map(lambda p: (self.scale * p).astype(self.dtype), params), model_state

    def loss(self, params: Any, model_state: Any, key: jax.Array, batch: Any) -> Loss:
        """The loss in float32."""
        wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        return self.task.loss(wide, model_state, key, batch)


def cases(data_dir: str | None) -> Mapping[tuple[str, str], tuple[Callable[[], Task], int]]:
    """Axis and value of every case, to a function that builds its task, and its steps."""

    def images() -> Any:
        return load_images("fashion_mnist", 8, 1, data_dir=data_dir)

    def mlp(width: int = WIDTH, batch: int = BATCH) -> Task:
        return ImageMLP.of(images(), hidden=(width, width), batch_size=batch)

    def network(**changes: Any) -> Callable[[], Task]:
        return lambda: ImageClassifier.of(images(), Network(**changes), batch_size=BATCH)

    found: dict[tuple[str, str], tuple[Callable[[], Task], int]] = {}
    for steps in (500, 2000, 8000, 20_000):
        found["steps", f"{steps:,}"] = mlp, steps
    for factor in (0.25, 4, 16):
        found["batch", f"x {factor:g}"] = lambda f=factor: mlp(batch=round(f * BATCH)), STEPS
    for factor in (4, 16, 32):
        found["width", f"x {factor:g}"] = lambda f=factor: mlp(f * WIDTH), STEPS
    for factor in (0.1, 0.3, 3, 10):
        found["initial scale", f"x {factor:g}"] = lambda f=factor: Changed(mlp(), f), STEPS
    for name, changes in {
        "tanh": {"act": "tanh"},
        "GELU": {"act": "gelu"},
        "GELU, skip connection": {"act": "gelu", "skip": True},
        "layer norm": {"norm": True},
        "last layer zero": {"zero": True},
    }.items():
        found["network", name] = network(**changes), STEPS
    conv = ConvNet(channels=(8, 16))
    found["network", "convolutions"] = lambda: ImageClassifier.of(images(), conv, batch_size=BATCH), STEPS
    transformer = "TransformerLM_pydocbytes_Patch32_Dim32_Layers2_bs16"
    found["network", "transformer"] = lambda: make(transformer, data_dir=data_dir), STEPS
    found["parameters", "bfloat16"] = lambda: Changed(mlp(), 1.0, "bfloat16"), STEPS
    return found


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Train changes of one small network by a learned optimizer and by tuned Adam.

    Attributes:
        json: file of the figures; cases that it has are not run again.
        picture: file for a picture, .svg or .png; "" = none.
        checkpoint: weights of an optimizer without a rate, as `celo.load` takes.
        axes: axes to run; () = all.
        seeds: trainings of each.
        seed: seed of everything random.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
    """

    json: Path
    picture: str = ""
    checkpoint: str = "celo"
    axes: tuple[str, ...] = ()
    seeds: int = 3
    seed: int = 0
    data_dir: str | None = None

    def check(self) -> None:
        """Checks names and paths before anything is trained; ValueError or OSError."""
        if self.seeds < 2:
            raise ValueError(f"seeds is {self.seeds}; expected at least 2")
        known = {axis for axis, _ in cases(None)}
        for axis in self.axes:
            lookup("axis", axis, dict.fromkeys(known))
        if self.picture and Path(self.picture).suffix not in (".svg", ".png"):
            raise ValueError(f"picture is {self.picture}; expected a name that ends in .svg or .png")
        for path in (self.json, self.picture):
            checks.output_file(path)

    def run(self) -> None:
        """Runs what the file lacks, prints the table, and draws the picture."""
        found = json.loads(self.json.read_text()) if self.json.exists() else []
        done = {(row["axis"], row["value"]) for row in found}
        loaded = celo.load(self.checkpoint)
        for (axis, value), (build, steps) in cases(self.data_dir).items():
            if (axis, value) in done or (self.axes and axis not in self.axes):
                continue
            start = time.perf_counter()
            losses = final_losses(build(), loaded, steps, self.seeds, self.seed)
            found.append({"axis": axis, "value": value, "steps": steps} | losses)
            write_atomically(self.json, f"{json.dumps(found, indent=1)}\n".encode())
            print(f"{axis} {value}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        print(table(found).markdown())
        if self.picture:
            with style.style():
                save(picture(found), Path(self.picture))


def final_losses(task: Task, loaded: Any, steps: int, seeds: int, seed: int) -> dict[str, Any]:
    """Final losses by seed of the learned optimizer, of Adam at its best rate by the mean, and that rate."""
    keys = jax.random.split(jax.random.key(seed), seeds)

    def final(optimizer: Any, key: jax.Array) -> jax.Array:
        key_train, key_end = jax.random.split(key)
        curve = train(task, optimizer, key_train, steps)
        return evaluate_end(task, curve, key_end, batches=FINAL_BATCHES)[0]

    def learned(key: jax.Array) -> jax.Array:
        return final(loaded.learned.optimizer(loaded.theta, steps), key)

    def adam(rate: jax.Array, key: jax.Array) -> jax.Array:
        return final(hand_designed("adam", rate), key)

    over_rates = jax.vmap(jax.vmap(adam, in_axes=(None, 0)), in_axes=(0, None))
    rates = jnp.asarray(RATES, jnp.float32)
    both = jax.jit(lambda keys: (jax.vmap(learned)(keys), over_rates(rates, keys)))
    ours, all_rates = jax.device_get(both(keys))
    means = np.where(np.isfinite(all_rates), all_rates, np.inf).mean(axis=1)
    best = int(np.argmin(means))
    return {"learned": ours.tolist(), "adam": all_rates[best].tolist(), "rate": RATES[best]}


def score(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Ratio of mean final losses, Adam's over the learned one's, and the range of the ratio over seeds.

    A training that diverged has the ratio 0.
    """
    ours, adam = np.array(row["learned"], float), np.array(row["adam"], float)
    ratios = np.where(np.isfinite(ours), adam / np.where(np.isfinite(ours), ours, 1.0), 0.0)
    mean = float(adam.mean() / ours.mean()) if np.all(np.isfinite(ours)) else 0.0
    return mean, float(ratios.min()), float(ratios.max())


def table(rows: list[dict[str, Any]]) -> Table:
    """A row per case."""
    lines = []
    for row in rows:
        mean, low, high = score(row)
        losses = (f"{np.mean(row[name]):.4g}" for name in ("adam", "learned"))
        lines.append(
            (row["axis"], row["value"], f"{row['rate']:.2g}", *losses, f"{mean:.2f} [{low:.2f}, {high:.2f}]")
        )
    return Table(("axis", "value", "Adam's rate", "Adam", "learned", "score"), tuple(lines), words=2)


def picture(rows: list[dict[str, Any]]) -> Any:
    """A line per case: the score with its range over seeds, on a logarithmic axis."""
    figure, axis = style.new_figure(
        "Final loss of Adam over that of the weights", 5.2, 0.22 * len(rows) + 1.0
    )
    for i, row in enumerate(rows):
        mean, low, high = (max(x, 0.05) for x in score(row))
        color = style.GREEN if mean >= 1 else style.VERMILLION
        axis.plot([low, high], [i, i], color=color)
        axis.plot(mean, i, "o", color=color, markersize=4)
    axis.set_xscale("log")
    axis.axvline(1.0, color=style.RULE, lw=0.8)
    axis.set_yticks(range(len(rows)), [f"{row['axis']}: {row['value']}" for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    ticks = (0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0)
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("score; the line covers all seeds")
    return figure


main = checks.program(Robustness, "robustness", __doc__)

if __name__ == "__main__":
    sys.exit(main())
