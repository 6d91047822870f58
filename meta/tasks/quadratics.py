"""Quadratics: a noisy bowl whose trajectories are known in closed form, and the published tasks without data.

Not here: `NoisyQuadraticFamily`, of which neither the dimensions nor the size of the noise are published.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.catalog import check_split
from celo.meta.tasks.base import Batch, Label, Loss, Task, pytree, static
from celo.meta.tasks.entry import Entry, Folders
from celo.meta.tasks.layers import check_positive, clip_loss

_BATCH_SHAPES = {"none": (), "unused": (4, 2), "added": ()}
_MATRIX_SEED = 7  # of the published matrix; its numbers are those of the running JAX's generator


@pytree
class Quadratic(Task):
    """Minimise `1/2 sum_i c_i (x_i - y_i - e_i)²`, with e ~ N(0, noise²) drawn per batch.

    The gradient is `c (x - y - e)`; the expected loss at the target y is `noise² sum(c) / 2`.

    Attributes:
        curvature: c, float32 of shape (n,), positive.
        target: y, float32 of shape (n,).
        noise: standard deviation of the noise of a batch.
        ceiling: losses are clipped here for the meta-objective.

    Example:
        >>> task = Quadratic.of(curvature=[1.0, 10.0])
        >>> float(task.loss({"x": jnp.ones(2)}, (), jax.random.key(0), {"noise": jnp.zeros(2)})[0])
        5.5
    """

    curvature: jax.Array
    target: jax.Array
    noise: float = static(default=0.0)
    ceiling: float = static(default=1e6)

    def __post_init__(self):
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise must be a finite standard deviation of at least 0, got {self.noise!r}")
        if not self.ceiling > 0:
            raise ValueError(f"ceiling must be above 0, got {self.ceiling!r}")

    @classmethod
    def of(
        cls,
        curvature: np.typing.ArrayLike,
        target: np.typing.ArrayLike = 0.0,
        noise: float = 0.0,
        ceiling: float = 1e6,
        name: str | None = None,
    ) -> "Quadratic":
        """Build the task from its curvatures and its target, which is broadcast to them.

        ValueError for curvatures that are not positive finite numbers in one axis, or a target that does not
        fit.
        """
        curvatures = np.asarray(curvature, np.float32)
        if (
            curvatures.ndim != 1
            or not curvatures.size
            or not np.all(np.isfinite(curvatures) & (curvatures > 0))
        ):
            raise ValueError(f"curvature must be positive finite numbers in one axis, got {curvature!r}")
        try:
            targets = np.broadcast_to(np.asarray(target, np.float32), curvatures.shape)
        except ValueError as error:
            raise ValueError(f"target must have the shape {curvatures.shape}, got {target!r}") from error
        name = name or f"Quadratic{curvatures.size}"
        return cls(jnp.asarray(curvatures), jnp.asarray(targets), noise, ceiling, label=Label(name))

    def init(self, key: jax.Array) -> tuple[dict[str, jax.Array], tuple[()]]:
        """Draw x from a standard normal; there is no model state."""
        return {"x": jax.random.normal(key, self.target.shape, jnp.float32)}, ()

    def sample(self, key: jax.Array, split: str) -> jax.Array:
        """Draw the noise of a batch, float32 (n,); every split has the same distribution."""
        check_split(split)
        return self.noise * jax.random.normal(key, self.target.shape, jnp.float32)

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Wrap the noise: "noise", float32 (n,)."""
        check_split(split)
        return {"noise": sample}

    def loss(
        self, params: dict[str, jax.Array], model_state: tuple[()], key: jax.Array, batch: Batch
    ) -> Loss:
        """Compute the quadratic; aux is empty. The key is not used."""
        error = params["x"] - self.target - batch["noise"]
        return 0.5 * jnp.sum(self.curvature * jnp.square(error)), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, ceiling]; NaN becomes the ceiling."""
        return clip_loss(loss, self.ceiling)


@pytree
class QuadraticForm(Task):
    """Minimise `y' M y`, or its logarithm, of a vector y made of the parameters.

    y is the sum of the parameters, less a target drawn with them, less noise drawn with each batch. M is a
    fixed positive matrix. `Quadratic` is the one with a spectrum of your choice.

    Source: the tasks of learned_optimization's quadratics (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        matrix: M, float32 (n, n).
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
        """Build the task; ValueError if M is not square, or the configuration is not valid."""
        square = jnp.asarray(matrix, jnp.float32)
        if square.ndim != 2 or square.shape[0] != square.shape[1]:
            raise ValueError(f"matrix must be square, got the shape {square.shape}")
        return cls(square, **config, label=Label(name))

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

    def loss(self, params: dict[str, jax.Array], model_state: Any, key: jax.Array, batch: Batch) -> Loss:
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


@dataclasses.dataclass(frozen=True)
class QuadraticEntry(Entry):
    """The row of a quadratic form; the data are its matrix.

    Attributes:
        dim: number of dimensions.
        random_matrix: whether the matrix is A A' with a fixed standard normal A, rather than the identity.
    """

    dim: int
    random_matrix: bool

    def load(self, folders: Folders) -> np.ndarray:
        """Return the matrix."""
        del folders
        return self.blank_data()

    def blank_data(self) -> np.ndarray:
        """Return the matrix."""
        matrix = np.eye(self.dim, dtype=np.float32)
        if not self.random_matrix:
            return matrix
        factor = jax.random.normal(jax.random.key(_MATRIX_SEED), matrix.shape, jnp.float32)
        # On the host and in double precision, so that the task is the same on every device.
        product = np.asarray(factor, np.float64) @ np.asarray(factor, np.float64).T
        return product.astype(np.float32)


def _quadratic(dim: int = 10, random_matrix: bool = False, **config: Any) -> QuadraticEntry:
    return QuadraticEntry("quadratics", None, QuadraticForm.of, config, dim, random_matrix)


QUADRATIC_TASKS: dict[str, Entry] = {
    "QuadraticTask": _quadratic(),
    "NoisyMeanQuadraticTask": _quadratic(2, random_matrix=True, column=True, init_scale=10.0, noise="mean"),
    "BatchQuadraticTask": _quadratic(noise="unused"),
    "LogQuadraticTask": _quadratic(logarithm=True),
    "SumQuadraticTask": _quadratic(vectors=2),
    "FixedDimQuadraticFamily": _quadratic(random_target=True),
    # Its dimensions are an argument without a default; ten, as of the family above.
    "FixedDimQuadraticFamilyData": _quadratic(random_target=True, noise="added", ceiling=1000.0),
}
