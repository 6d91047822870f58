"""Celo, Celo-Adam and Celo2 as a submission to AlgoPerf 0.6 (Dahl et al. 2023, arXiv 2306.07179), in JAX.

AlgoPerf's runner calls the functions below by these names. `README.md` beside this file says how to run it.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from algoperf import spec  # pyright: ignore[reportAttributeAccessIssue]

import celo

# Batch sizes of AlgoPerf's baselines.
BATCH_SIZES = {
    "criteo1tb": 262_144,
    "fastmri": 32,
    "imagenet_resnet": 1024,
    "imagenet_vit": 1024,
    "librispeech_conformer": 256,
    "librispeech_deepspeech": 256,
    "ogbg": 512,
    "wmt": 128,
    "mnist": 1024,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a trial may set; self-tuning trials have the defaults.

    Attributes:
        optimizer: "celo", "celo_adam" or "celo2".
        theta: its meta-parameters, as `celo.load` takes; "" = the packaged ones.
        prompt: share of the workload's step hint that the optimizer is told as its horizon.
        learning_rate: peak rate of celo2, after 5% of the horizon; then it falls along a cosine to 0.
        weight_decay: decoupled; of celo2 alone.
        grad_clip: largest global norm of the gradient; 0 = no clipping.
        label_smoothing: passed to the workload's loss.
    """

    optimizer: str = "celo"
    theta: str = ""
    prompt: float = 1.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    label_smoothing: float = 0.0


def settings_of(hyperparameters: Any) -> Settings:
    """The settings in a trial's hyperparameters; ValueError for a name that is none."""
    if not hyperparameters:
        return Settings()
    given = hyperparameters if isinstance(hyperparameters, dict) else hyperparameters._asdict()
    known = {field.name for field in dataclasses.fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"unknown hyperparameters {unknown}; expected some of {sorted(known)}")
    return Settings(**given)


def build(settings: Settings, step_hint: int) -> optax.GradientTransformationExtraArgs:
    """The optimizer for a workload; ValueError for an unknown one."""
    steps, theta = max(1, round(settings.prompt * step_hint)), settings.theta or None
    if settings.optimizer == "celo2":
        warmup = round(0.05 * steps)
        schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, warmup, steps)
        optimizer = celo.celo2(steps, schedule, theta, weight_decay=settings.weight_decay)
    elif settings.optimizer in ("celo", "celo_adam"):
        optimizer = getattr(celo, settings.optimizer)(steps, theta)
    else:
        raise ValueError(f"optimizer is {settings.optimizer!r}; expected 'celo', 'celo_adam' or 'celo2'")
    clip = optax.clip_by_global_norm(settings.grad_clip) if settings.grad_clip else optax.identity()
    return optax.with_extra_args_support(optax.chain(clip, optimizer))


def get_batch_size(workload_name: str) -> int:
    """Examples in a global batch; KeyError for an unknown workload."""
    return BATCH_SIZES[workload_name]


def init_optimizer_state(
    workload: Any, model_params: Any, model_state: Any, hyperparameters: Any, rng: Any
) -> tuple[Any, Any]:
    """The state of the optimizer, and the optimizer."""
    del model_state, rng
    optimizer = build(settings_of(hyperparameters), workload.step_hint)
    return jax.jit(optimizer.init)(model_params), optimizer


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4, 5))
def train_step(
    workload: Any,
    optimizer: Any,
    label_smoothing: float,
    params: Any,
    state: Any,
    model_state: Any,
    batch: Any,
    rng: Any,
) -> tuple[Any, Any, Any, jax.Array]:
    """One step on a batch, which the runner has sharded over the devices; its loss is a mean over all."""

    def mean_loss(params: Any) -> tuple[jax.Array, Any]:
        logits, new = workload.model_fn(
            params, batch, model_state, spec.ForwardPassMode.TRAIN, rng, update_batch_norm=True
        )
        found = workload.loss_fn(
            label_batch=batch["targets"],
            logits_batch=logits,
            mask_batch=batch.get("weights"),
            label_smoothing=label_smoothing,
        )
        return found["summed"] / jnp.maximum(found["n_valid_examples"], 1), new

    (loss, model_state), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    updates, state = optimizer.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state, model_state, loss


def update_params(
    workload: Any,
    current_param_container: Any,
    current_params_types: Any,
    model_state: Any,
    hyperparameters: Any,
    batch: dict[str, Any],
    loss_type: Any,
    optimizer_state: tuple[Any, Any],
    eval_results: list[Any],
    global_step: int,
    rng: Any,
    train_state: dict[str, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """One step: the optimizer's state, the parameters and the model's state after it."""
    del current_params_types, loss_type, eval_results, train_state
    state, optimizer = optimizer_state
    smoothing = settings_of(hyperparameters).label_smoothing
    params, state, model_state, loss = train_step(
        workload, optimizer, smoothing, current_param_container, state, model_state, batch, rng
    )
    if global_step % 100 == 0 and workload.metrics_logger is not None:
        workload.metrics_logger.append_scalar_metrics({"loss": float(loss)}, global_step)
    return (state, optimizer), params, model_state


def prepare_for_eval(
    workload: Any,
    current_param_container: Any,
    current_params_types: Any,
    model_state: Any,
    hyperparameters: Any,
    loss_type: Any,
    optimizer_state: tuple[Any, Any],
    eval_results: list[Any],
    global_step: int,
    rng: Any,
) -> tuple[Any, Any, Any]:
    """Nothing to do: the parameters are evaluated as they are."""
    del workload, current_params_types, hyperparameters, loss_type, eval_results, global_step, rng
    return optimizer_state, current_param_container, model_state


def data_selection(
    workload: Any,
    input_queue: Iterator[dict[str, Any]],
    optimizer_state: Any,
    current_param_container: Any,
    model_state: Any,
    hyperparameters: Any,
    global_step: int,
    rng: Any,
) -> dict[str, Any]:
    """The next batch."""
    del workload, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
    return next(input_queue)
