"""Predicting a property of graphs: message passing on generated ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.data.catalog import SPLITS, check_split
from celo.meta.tasks.base import Batch, Label, Loss, Params, Task, pytree, static
from celo.meta.tasks.entry import Entry, Folders
from celo.meta.tasks.layers import apply_mlp, check_positive, clip_loss, init_mlp

_STEPS = 3


@pytree
class TriangleCounting(Task):
    """Predict ``log(1 + triangles)`` of random graphs under the mean squared error.

    A graph has ``nodes`` nodes and each edge with a probability drawn uniformly from 0.1 to 0.5, so that the
    number of edges alone says little. Every split draws graphs without end, by keys of its own.

    A node starts from its degree. In each of three steps it adds a perceptron of its vector and the sum over
    its neighbours (Gilmer et al. 2017, arXiv 1704.01212); a last one reads the mean over nodes.

    Attributes:
        nodes: nodes of a graph.
        width: width of the vectors and of the hidden layers.
        batch_size: graphs per batch.

    Example:
        >>> task = TriangleCounting(nodes=4, width=8, batch_size=2)
        >>> task.batch(jax.random.key(0), "train")["edges"].shape
        (2, 4, 4)
    """

    nodes: int = static(default=16)
    width: int = static(default=32)
    batch_size: int = static(default=64)

    loss_unit = "mean squared error"

    def __post_init__(self) -> None:
        for name in ("nodes", "width", "batch_size"):
            check_positive(name, getattr(self, name))

    def init(self, key: Array) -> tuple[Params, tuple[()]]:
        """Draw the perceptrons; there is no model state."""
        keys = jax.random.split(key, _STEPS + 2)
        steps = {
            f"step_{i}": init_mlp(k, (2 * self.width, self.width, self.width))
            for i, k in enumerate(keys[:_STEPS])
        }
        ends = {
            "first": init_mlp(keys[-2], (1, self.width)),
            "last": init_mlp(keys[-1], (self.width, self.width, 1)),
        }
        return steps | ends, ()

    def batch(self, key: Array, split: str) -> Batch:
        """Draw graphs: "edges" (batch, nodes, nodes), 0 or 1 and symmetric; "target" (batch,)."""
        key = jax.random.fold_in(key, SPLITS.index(check_split(split)))
        key_share, key_edges = jax.random.split(key)
        share = jax.random.uniform(key_share, (self.batch_size, 1, 1), minval=0.1, maxval=0.5)
        drawn = jax.random.uniform(key_edges, (self.batch_size, self.nodes, self.nodes)) < share
        upper = jnp.triu(drawn.astype(jnp.float32), 1)
        edges = upper + jnp.swapaxes(upper, 1, 2)
        triangles = jnp.einsum("bij,bjk,bki->b", edges, edges, edges) / 6.0
        return {"edges": edges, "target": jnp.log1p(triangles)}

    def loss(self, params: Params, model_state: tuple[()], key: Array, batch: Batch) -> Loss:
        """Compute the mean squared error. The key is not used: nothing is random."""
        edges = batch["edges"]
        graphs = len(edges)

        def network(name: str, x: Array) -> Array:
            flat = apply_mlp(params[name], x.reshape(-1, x.shape[-1]), "relu")
            return flat.T.reshape(*x.shape[:-1], -1)

        degree = jnp.sum(edges, axis=-1, keepdims=True) / self.nodes
        x = network("first", degree)
        for i in range(_STEPS):
            neighbours = jnp.einsum("bij,bjk->bik", edges, x) / self.nodes**0.5
            x = x + network(f"step_{i}", jnp.concatenate([x, neighbours], axis=-1))
        found = network("last", jnp.mean(x, axis=1)).reshape(graphs)
        return jnp.mean(jnp.square(found - batch["target"])), model_state, {}

    def normalizer(self, loss: Array) -> Array:
        """Clip the loss to [0, 10], about that of a guess of 0; NaN becomes 10."""
        return clip_loss(loss, 10.0)


class GraphEntry(Entry):
    """The row of a task on generated graphs, which needs no data."""

    def load(self, folders: Folders) -> None:
        """Nothing to load."""
        del folders

    def blank_data(self) -> None:
        """Nothing to load."""


def _triangles(data: None, name: str, **config: Any) -> TriangleCounting:
    del data
    return TriangleCounting(**config, label=Label(name))


GRAPH_TASKS: dict[str, Entry] = {
    "Graphs_Triangles16_GNN32_bs64": GraphEntry(
        "graphs", None, _triangles, {"nodes": 16, "width": 32, "batch_size": 64}
    )
}
