"""A noisy quadratic bowl: the optimizee whose every gradient and every trajectory is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.splits import check_split
from celo.meta.tasks.base import Aux, Batch, Label, pytree, static
from celo.meta.tasks.layers import clip_loss


@pytree
class Quadratic:
    """Minimise `1/2 sum_i c_i (x_i - y_i - e_i)²`, with e ~ N(0, noise²) drawn per batch.

    The gradient is `c (x - y - e)`; the expected loss at the target y is `noise² sum(c) / 2`.

    Attributes:
        curvature: c, float32 of shape (n,), positive.
        target: y, float32 of shape (n,).
        label: holds the name.
        noise: standard deviation of the noise of a batch.
        ceiling: losses are clipped here for the meta-objective.

    Example:
        >>> task = Quadratic.of(curvature=[1.0, 10.0])
        >>> float(task.loss({"x": jnp.ones(2)}, (), jax.random.key(0), {"noise": jnp.zeros(2)})[0])
        5.5
    """

    curvature: jax.Array
    target: jax.Array
    label: Label = static()
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

        Raises:
            ValueError: curvatures that are not positive finite numbers in one axis, or another shape of the
                target.
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
        return cls(jnp.asarray(curvatures), jnp.asarray(targets), Label(name), noise, ceiling)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

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

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))

    def loss(
        self, params: dict[str, jax.Array], model_state: tuple[()], key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[()], Aux]:
        """Compute the quadratic; aux is empty. The key is not used."""
        error = params["x"] - self.target - batch["noise"]
        return 0.5 * jnp.sum(self.curvature * jnp.square(error)), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, ceiling]; NaN becomes the ceiling."""
        return clip_loss(loss, self.ceiling)
