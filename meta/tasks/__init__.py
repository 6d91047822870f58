"""Tasks: optimizees with their data, as pytrees that go through jit and stack for vmap."""

from celo.meta.tasks.base import Task, pytree, stack_tasks, static
from celo.meta.tasks.es_wrapped import ESWrapped
from celo.meta.tasks.image_autoencoder import ImageAutoencoder
from celo.meta.tasks.image_classifier import ImageClassifier
from celo.meta.tasks.image_mlp import ImageMLP
from celo.meta.tasks.lopt import LearnedOptimizerTraining, PESTraining
from celo.meta.tasks.quadratics import Quadratic, QuadraticForm
from celo.meta.tasks.recurrent_lm import RecurrentLM
from celo.meta.tasks.registry import (
    META_TRAINING,
    META_VALIDATION,
    OURS,
    TASKS,
    WIDER_META_TRAINING,
    WORKLOADS,
    check_name,
    make,
    parameter_shapes,
)
from celo.meta.tasks.transformer_lm import TransformerLM

__all__ = [
    "META_TRAINING",
    "META_VALIDATION",
    "OURS",
    "TASKS",
    "WIDER_META_TRAINING",
    "WORKLOADS",
    "ESWrapped",
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageMLP",
    "LearnedOptimizerTraining",
    "PESTraining",
    "Quadratic",
    "QuadraticForm",
    "RecurrentLM",
    "Task",
    "TransformerLM",
    "check_name",
    "make",
    "parameter_shapes",
    "pytree",
    "stack_tasks",
    "static",
]
