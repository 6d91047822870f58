"""The published tasks without data: a sum of squares in several disguises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.splits import check_split
from celo.meta.tasks.base import Aux, Batch, Label, pytree, static
from celo.meta.tasks.layers import check_positive

_BATCH_SHAPES = {"none": (), "unused": (4, 2), "added": ()}


@pytree
class QuadraticForm:
    """Minimise `y' M y`, or its logarithm, of a vector y made of the parameters.

    y is the sum of the parameters, less a target drawn with them, less noise drawn with each batch. M is a
    fixed positive matrix. `Quadratic` is the one with a spectrum of your choice.

    Source: the tasks of learned_optimization's quadratics (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        matrix: M, float32 (n, n).
        label: holds the name.
        vectors: number of parameters that are summed.
        column: whether a parameter has the shape (n, 1) rather than (n,).
        init_scale: standard deviation of the initial parameters.
        random_target: whether the target is standard normal, a part of the model state, rather than zero.
        noise: what a batch holds: "none", "mean" (standard normal noise of y), "unused" (numbers the loss
            ignores) or "added" (one number added to the loss).
        logarithm: whether the loss is the logarithm of the form.
        ceiling: losses are clipped to [0, ceiling] for the meta-objective, or None for no clipping at all.

    Example:
        >>> task = QuadraticForm.of(np.eye(3), name="three")
        >>> float(task.loss({"x0": jnp.ones(3)}, (), jax.random.key(0), {"noise": jnp.zeros(())})[0])
        3.0
    """

    matrix: jax.Array
    label: Label = static()
    vectors: int = static(default=1)
    column: bool = static(default=False)
    init_scale: float = static(default=1.0)
    random_target: bool = static(default=False)
    noise: str = static(default="none")
    logarithm: bool = static(default=False)
    ceiling: float | None = static(default=None)

    def __post_init__(self):
        check_positive("vectors", self.vectors)
        if self.noise != "mean" and self.noise not in _BATCH_SHAPES:
            raise ValueError(f"noise must be mean, {', '.join(_BATCH_SHAPES)}, got {self.noise!r}")

    @classmethod
    def of(cls, matrix: np.typing.ArrayLike, name: str, **config: Any) -> "QuadraticForm":
        """Build the task.

        Args:
            matrix: M.
            name: name of the task.
            **config: further attributes.

        Raises:
            ValueError: M is not square, or the configuration is not valid.
        """
        square = jnp.asarray(matrix, jnp.float32)
        if square.ndim != 2 or square.shape[0] != square.shape[1]:
            raise ValueError(f"matrix must be square, got the shape {square.shape}")
        return cls(square, Label(name), **config)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

    @property
    def _shape(self) -> tuple[int, ...]:
        size = self.matrix.shape[-1]
        return (size, 1) if self.column else (size,)

    def init(self, key: jax.Array) -> tuple[dict[str, jax.Array], Any]:
        """Draw the parameters, and the target if it is random."""
        keys = jax.random.split(key, self.vectors + 1)
        params = {
            f"x{i}": self.init_scale * jax.random.normal(keys[i], self._shape, jnp.float32)
            for i in range(self.vectors)
        }
        if not self.random_target:
            return params, ()
        return params, {"target": jax.random.normal(keys[-1], self._shape, jnp.float32)}

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw the noise of a batch; every split has the same distribution."""
        check_split(split)
        if self.noise == "none":
            return jnp.zeros((), jnp.float32)
        return jax.random.normal(key, _BATCH_SHAPES.get(self.noise, self._shape), jnp.float32)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Wrap the noise."""
        check_split(split)
        return {"noise": sample}

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))

    def loss(
        self, params: dict[str, jax.Array], model_state: Any, key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, Any, Aux]:
        """Compute the form; aux is empty. The key is not used."""
        y = sum(params.values(), start=jnp.zeros(self._shape, jnp.float32))
        if self.random_target:
            y = y - model_state["target"]
        if self.noise == "mean":
            y = y - batch["noise"]
        y = y.reshape(-1)
        value = y @ self.matrix @ y
        if self.noise == "added":
            value = value + batch["noise"]
        return jnp.log(value) if self.logarithm else value, model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, ceiling], if there is one; NaN stays, as published."""
        return loss if self.ceiling is None else jnp.clip(loss, 0.0, self.ceiling)
