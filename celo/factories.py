"""One function per learned optimizer: from steps and meta-parameters to an optax transformation."""

from __future__ import annotations

import os
from typing import Any

import optax
from jax import Array

from celo._core import trees
from celo._core.rounding import rounded_state
from celo.checkpoint import load, packaged
from celo.learned import learned_optimizer

Steps = float | Array
Optimizer = optax.GradientTransformationExtraArgs


def _build(
    name: str,
    num_steps: Steps,
    theta: Any,
    config: dict[str, Any],
    state_dtype: str = "float32",
    **options: Any,
) -> Optimizer:
    """The optimizer of that name; see `celo` for the arguments. Fields that are None are not set."""
    if state_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"state_dtype is {state_dtype!r}; expected 'float32' or 'bfloat16'")
    config = {field: value for field, value in config.items() if value is not None}
    if theta is None:
        if name not in packaged():
            raise FileNotFoundError(
                f"this installation has no weights pretrained/{name}.safetensors; give theta=, for example a "
                "file or 'hf://amoudgl/celo'"
            )
        theta = name
    if isinstance(theta, str | os.PathLike):
        learned, theta = load(theta, name=name, **config)
    else:
        learned = learned_optimizer(name, **config)
    build: Any = learned.optimizer
    optimizer = build(theta, num_steps, **options)
    trees.check_finite(trees.known(theta), "theta")
    return optimizer if state_dtype == "float32" else rounded_state(optimizer)


def celo(
    num_steps: Steps,
    theta: Any = None,
    *,
    stage: int | None = None,
    form: str | None = None,
    tensor_features: bool | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """Celo (arXiv 2501.12670), ready to train with.

    ``p <- p - eta_t * 0.001 d exp(0.001 m) rms(p)``, with d and m from an MLP at every parameter and eta_t
    from an LSTM that follows the loss. There is no learning rate to tune.

    Args:
        num_steps: number of steps of the training ahead, a whole number of at least 1; may be traced.
        theta: meta-parameters; a file, packaged name or hub address as `celo.load` takes; the packaged
            weights if None.
        stage: 1 = update rule alone, 2 = with the scheduler. None, here and below: as the file says, else the
            default of the configuration.
        form: how the scheduler's output becomes a step size: "exp", "linear" or "linear_clip".
        tensor_features: whether the scheduler sees features of each tensor.
        state_dtype: "bfloat16" stores the running averages in half the memory, rounded at random
            (`celo.wrappers.rounded_state`); `celo.step_size` then reads the step size.
        kernels: "pallas" runs the update of each tensor on a GPU in two Pallas kernels; "plain", the default,
            leaves all to XLA, as both do on other platforms. Not yet timed, see docs/performance.md.

    Returns:
        An optax transformation; its ``update`` needs the parameters and the scalar loss:
        ``update(grads, state, params, value=loss)``. `celo.step_size` reads the last step size.

    Raises:
        ValueError: if num_steps is below 1, a field is out of range, or theta does not fit the configuration
            or has numbers that are not finite.
        TypeError: if num_steps is not a whole number.
        FileNotFoundError: if there is no such file, or theta is None and no weights are packaged.

    Example:
        >>> import jax
        >>> theta = learned_optimizer("celo").init(jax.random.key(0))
        >>> optimizer = optax.chain(optax.clip_by_global_norm(1.0), celo(1000, theta))
    """
    config = {"stage": stage, "form": form, "tensor_features": tensor_features}
    return _build("celo", num_steps, theta, config, state_dtype=state_dtype, kernels=kernels)


def celo_adam(num_steps: Steps, theta: Any = None, *, state_dtype: str = "float32") -> Optimizer:
    """Celo-Adam (arXiv 2501.12670): Adam whose learning rate Celo's scheduler sets at every step.

    Arguments are as for `celo.celo`; ``update`` needs the parameters and the loss as ``value=``.
    """
    return _build("celo_adam", num_steps, theta, {}, state_dtype=state_dtype)


def velo(
    num_steps: Steps,
    theta: Any = None,
    *,
    hidden: int | None = None,
    bank: int | None = None,
    ff_mult: float | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """VeLO (arXiv 2211.09760): an LSTM per tensor sets its step size and mixes its MLP from a bank.

    Args:
        num_steps: number of steps of the training ahead, as for `celo.celo`.
        theta: meta-parameters, a file, a packaged name or a hub address, as for `celo.celo`.
        hidden: size of the LSTM. None: as in the file, else the default.
        bank: number of MLPs mixed. None: as in the file, else the default.
        ff_mult: factor of the mixed weights; 100 for the published VeLO. None: as in the file, else 1.
        state_dtype: "float32" or "bfloat16", as for `celo.celo`.
        kernels: "plain" or "pallas", as for `celo.celo`.

    Returns:
        An optax transformation; its ``update`` needs the parameters and the loss as ``value=``.
    """
    config = {"hidden": hidden, "bank": bank, "ff_mult": ff_mult}
    return _build("velo", num_steps, theta, config, state_dtype=state_dtype, kernels=kernels)


def velo_s(
    num_steps: Steps,
    theta: Any = None,
    *,
    ff_mult: float | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """VeLO-S: VeLO with a hidden size of 64 and a bank of 32.

    Arguments are as for `celo.velo`; ``update`` needs the parameters and the loss as ``value=``.
    """
    return _build("velo_s", num_steps, theta, {"ff_mult": ff_mult}, state_dtype=state_dtype, kernels=kernels)


def adafac_mlp(
    num_steps: Steps, theta: Any = None, *, state_dtype: str = "float32", kernels: str = "plain"
) -> Optimizer:
    """The small MLP with Adafactor features (arXiv 2203.11860), without a scheduler.

    Arguments are as for `celo.celo`; ``update`` needs the parameters, and ignores ``value=``.
    """
    return _build("adafac_mlp", num_steps, theta, {}, state_dtype=state_dtype, kernels=kernels)


def mlp_lopt(num_steps: Steps, theta: Any = None, *, state_dtype: str = "float32") -> Optimizer:
    """The MLP over momenta of Metz et al. 2019 (arXiv 1810.10180).

    Arguments are as for `celo.celo`; ``update`` needs the parameters, and ignores ``value=``.
    """
    return _build("mlp_lopt", num_steps, theta, {}, state_dtype=state_dtype)


def nn_adam(num_steps: Steps, theta: Any = None, *, state_dtype: str = "float32") -> Optimizer:
    """NN-Adam (arXiv 2203.11860): an LSTM moves Adam's hyperparameters, tensor by tensor.

    Arguments are as for `celo.celo`; ``update`` needs the parameters, and ignores ``value=``.
    """
    return _build("nn_adam", num_steps, theta, {}, state_dtype=state_dtype)


def rnn_mlp(num_steps: Steps, theta: Any = None) -> Optimizer:
    """RNN-MLP (arXiv 2009.11243): an LSTM per tensor and an MLP per parameter exchange messages.

    Arguments are as for `celo.celo`; ``update`` needs the parameters and the loss as ``value=``.
    """
    return _build("rnn_mlp", num_steps, theta, {})


def star(
    num_steps: Steps,
    theta: Any = None,
    *,
    nominal_step: float | None = None,
    weight_decay: float | None = None,
    precondition: bool | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """STAR (arXiv 2209.11208): the small MLP beside a nominal step of Adam.

    Args:
        num_steps: number of steps of the training ahead, as for `celo.celo`.
        theta: meta-parameters, a file, a packaged name or a hub address, as for `celo.celo`.
        nominal_step: size of the nominal step. None, here and below: as in the file, else the default.
        weight_decay: part of every parameter lost in a step, in [0, 1).
        precondition: whether the learned direction is preconditioned.
        state_dtype: "float32" or "bfloat16", as for `celo.celo`.
        kernels: "plain" or "pallas", as for `celo.celo`.

    Returns:
        An optax transformation; its ``update`` needs the parameters, and ignores ``value=``.
    """
    config = {"nominal_step": nominal_step, "weight_decay": weight_decay, "precondition": precondition}
    return _build("star", num_steps, theta, config, state_dtype=state_dtype, kernels=kernels)


def learnable_adam(num_steps: Steps, theta: Any = None) -> Optimizer:
    """Adam with a meta-learned learning rate, decays and epsilon.

    Arguments are as for `celo.celo`; ``update`` ignores ``value=``.
    """
    return _build("learnable_adam", num_steps, theta, {})


def learnable_sgd(num_steps: Steps, theta: Any = None) -> Optimizer:
    """Gradient descent with a meta-learned learning rate.

    Arguments are as for `celo.celo`; ``update`` ignores ``value=``.
    """
    return _build("learnable_sgd", num_steps, theta, {})


def learnable_sgdm(num_steps: Steps, theta: Any = None) -> Optimizer:
    """SGD with a meta-learned learning rate and momentum.

    Arguments are as for `celo.celo`; ``update`` ignores ``value=``.
    """
    return _build("learnable_sgdm", num_steps, theta, {})


def celo2_base(
    num_steps: Steps,
    learning_rate: optax.ScalarOrSchedule,
    theta: Any = None,
    *,
    weight_decay: float | Array = 0.0,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """Celo2-base (arXiv 2602.19142): an MLP gives directions, the learning rate their size.

    Args:
        num_steps: number of steps of the training ahead, as for `celo.celo`; checked, but not used.
        learning_rate: a number, traced or not, or an optax schedule.
        theta: meta-parameters, a file, a packaged name or a hub address, as for `celo.celo`.
        weight_decay: decoupled; multiplied by the learning rate.
        state_dtype: "float32" or "bfloat16", as for `celo.celo`.
        kernels: "plain" or "pallas", as for `celo.celo`.

    Returns:
        An optax transformation; its ``update`` needs the parameters, and ignores ``value=``.
    """
    options = {"learning_rate": learning_rate, "weight_decay": weight_decay, "kernels": kernels}
    return _build("celo2_base", num_steps, theta, {}, state_dtype, **options)


def celo2_auto(
    num_steps: Steps,
    theta: Any = None,
    *,
    stage: int | None = None,
    form: str | None = None,
    orthogonal: bool | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """Celo2-auto: Celo's scheduler over the directions of Celo2, so that there is no learning rate to tune.

    Arguments are as for `celo.celo`; ``orthogonal`` says whether the directions of rank 2 and more are
    orthogonalised. ``update`` needs the parameters and the loss as ``value=``.
    """
    config = {"stage": stage, "form": form, "orthogonal": orthogonal}
    return _build("celo2_auto", num_steps, theta, config, state_dtype=state_dtype, kernels=kernels)


def celo2(
    num_steps: Steps,
    learning_rate: optax.ScalarOrSchedule,
    theta: Any = None,
    *,
    weight_decay: float | Array = 0.0,
    adam_paths: str | None = None,
    state_dtype: str = "float32",
    kernels: str = "plain",
) -> Optimizer:
    """Celo2 (arXiv 2602.19142): Celo2-base, orthogonalised, for hidden matrices; Adam for all else.

    Arguments are as for `celo.celo2_base`. ``adam_paths`` says which parameters take Adam, as globs separated
    by ``|``, such as "wte|*/out"; None: those named like an embedding or a head, and vectors. `celo.routing`
    shows the result. ``update`` needs the parameters, and ignores ``value=``.
    """
    options = {"learning_rate": learning_rate, "weight_decay": weight_decay, "kernels": kernels}
    return _build("celo2", num_steps, theta, {"adam_paths": adam_paths}, state_dtype, **options)
