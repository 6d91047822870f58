"""Predicting clicks from categories and numbers: a small deep-learning recommendation model."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core.mlp import truncated_normal
from celo.meta.data.catalog import SPLITS, check_split
from celo.meta.tasks.base import Batch, Examples, Label, Loss, Params, Task, draw_indices, pytree, static
from celo.meta.tasks.entry import Entry, Folders
from celo.meta.tasks.layers import apply_mlp, check_positive, clip_loss, init_mlp

_SEED = 20  # of the generated clicks
_ROWS = {"train": 80_000, "inner_valid": 10_000, "outer_valid": 10_000, "test": 20_000}
_CEILING = 1.5 * float(np.log(2.0))


def generate_clicks(
    rows: int, tables: int, categories: int, numbers: int, seed: int
) -> dict[str, np.ndarray]:
    """Clicks drawn from a logistic model of the features.

    Categories follow Zipf's law. The log-odds are
    ``-1 + sum_j u_j[c_j] + w . x + sum_{j<k} v_j[c_j] . v_k[c_k]`` with normal effects u (sigma 0.5), weights
    w (0.3) and vectors v of 4 entries (0.35), so that a model needs the products of embeddings. The effects
    are the same for every seed of the rows.

    Returns:
        "category" (rows, tables) int32, "number" (rows, numbers) float32, "click" (rows,) int32.
    """
    effects = np.random.default_rng(_SEED)
    u = effects.normal(0.0, 0.5, (tables, categories))
    v = effects.normal(0.0, 0.35, (tables, categories, 4))
    w = effects.normal(0.0, 0.3, numbers)
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, categories + 1)
    category = rng.choice(categories, (rows, tables), p=share / share.sum())
    number = rng.normal(size=(rows, numbers))
    each = np.arange(tables)
    vectors = v[each, category]
    products = 0.5 * (np.square(vectors.sum(1)) - np.square(vectors).sum(1)).sum(1)
    odds = -1.0 + u[each, category].sum(1) + number @ w + products
    click = rng.random(rows) < 1.0 / (1.0 + np.exp(-odds))
    return {
        "category": category.astype(np.int32),
        "number": number.astype(np.float32),
        "click": click.astype(np.int32),
    }


@pytree
class ClickThrough(Task):
    """Predict clicks under the mean binary cross-entropy, in nats, on generated data.

    Numbers go through a perceptron to a vector as wide as the embeddings; the products of all pairs of
    vectors, beside the first of them, go through another one to the log-odds of a click.

    Source of the model: DLRM (Naumov et al. 2019, arXiv 1906.00091); the data are `generate_clicks`.

    Attributes:
        splits: "category", "number" and "click" of each split.
        categories: rows of each embedding.
        width: width of the embeddings.
        hidden: width of the hidden layer of both perceptrons.
        batch_size: examples per batch.
    """

    splits: dict[str, Examples]
    categories: int = static(default=1000)
    width: int = static(default=16)
    hidden: int = static(default=64)
    batch_size: int = static(default=128)

    loss_unit = "nats"

    def __post_init__(self) -> None:
        for name in ("categories", "width", "hidden", "batch_size"):
            check_positive(name, getattr(self, name))

    @classmethod
    def of(cls, data: dict[str, dict[str, np.ndarray]], name: str = "ClickThrough", **config: Any) -> Self:
        """Build the task on the arrays of each split."""
        return cls({split: Examples.of(data[split]) for split in SPLITS}, **config, label=Label(name))

    def _sizes(self) -> tuple[int, int]:
        arrays = self.splits["train"].arrays
        return arrays["category"].shape[-1], arrays["number"].shape[-1]

    def init(self, key: Array) -> tuple[Params, tuple[()]]:
        """Draw embeddings of sigma ``1 / sqrt(width)`` and both perceptrons; there is no model state."""
        tables, numbers = self._sizes()
        keys = jax.random.split(key, 3)
        vectors = tables + 1
        pairs = vectors * (vectors - 1) // 2
        embeddings = truncated_normal(keys[0], (tables, self.categories, self.width), self.width)
        return {
            "embeddings": {f"table_{j}": embeddings[j] for j in range(tables)},
            "bottom": init_mlp(keys[1], (numbers, self.hidden, self.width)),
            "top": init_mlp(keys[2], (pairs + self.width, self.hidden, 1)),
        }, ()

    def sample(self, key: Array, split: str) -> Array:
        """Draw the row numbers of a batch, int32 (batch_size,)."""
        return draw_indices(key, self.splits[check_split(split)].size, (self.batch_size,))

    def gather(self, split: str, sample: Array) -> Batch:
        """Gather a batch: "category" (batch, tables), "number" (batch, numbers), "click" (batch,)."""
        return self.splits[check_split(split)].take(sample)

    def loss(self, params: Params, model_state: tuple[()], key: Array, batch: Batch) -> Loss:
        """Compute the mean cross-entropy; aux holds the accuracy. The key is not used: nothing is random."""
        tables, _ = self._sizes()
        dense = apply_mlp(params["bottom"], batch["number"], "relu").T
        found = [params["embeddings"][f"table_{j}"][batch["category"][:, j]] for j in range(tables)]
        vectors = jnp.stack([dense, *found], axis=1)
        products = jnp.einsum("bik,bjk->bij", vectors, vectors)
        rows, columns = np.triu_indices(tables + 1, 1)
        seen = jnp.concatenate([dense, products[:, rows, columns]], axis=1)
        logits = apply_mlp(params["top"], seen, "relu")[0]
        click = batch["click"].astype(jnp.float32)
        loss = jnp.mean(jax.nn.softplus(logits) - click * logits)
        accuracy = jnp.mean((logits > 0) == (click > 0))
        return loss, model_state, {"accuracy": accuracy}

    def normalizer(self, loss: Array) -> Array:
        """Clip the loss to [0, 1.5 ln 2]; NaN becomes 1.5 ln 2."""
        return clip_loss(loss, _CEILING)


@dataclasses.dataclass(frozen=True)
class ClickEntry(Entry):
    """The row of a task on generated clicks.

    Attributes:
        tables: categorical features.
        numbers: numerical features.
    """

    tables: int = 8
    numbers: int = 13

    def _clicks(self, rows: dict[str, int]) -> dict[str, dict[str, np.ndarray]]:
        sizes = self.tables, self.config["categories"], self.numbers
        return {
            split: generate_clicks(count, *sizes, seed=_SEED + 1 + i)
            for i, (split, count) in enumerate(rows.items())
        }

    def load(self, folders: Folders) -> dict[str, dict[str, np.ndarray]]:
        """Generate the clicks: the same on every machine."""
        del folders
        return self._clicks(_ROWS)

    def blank_data(self) -> dict[str, dict[str, np.ndarray]]:
        """One example per split."""
        return self._clicks(dict.fromkeys(_ROWS, 1))


CLICK_TASKS: dict[str, Entry] = {
    "ClickThrough_DLRM_8x1000_Embed16_bs128": ClickEntry(
        "click_through", None, ClickThrough.of, {"categories": 1000, "width": 16}
    )
}
