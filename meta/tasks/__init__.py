"""Tasks: optimizees with their data, as pytrees that go through jit and stack for vmap."""

from meta.tasks.base import Task, stack_tasks
from meta.tasks.es_wrapped import ESWrapped
from meta.tasks.image_autoencoder import ImageAutoencoder
from meta.tasks.image_classifier import ImageClassifier
from meta.tasks.image_mlp import ImageMLP
from meta.tasks.learned_optimizer_training import LearnedOptimizerTraining
from meta.tasks.pes_training import PESTraining
from meta.tasks.quadratic import Quadratic
from meta.tasks.quadratic_form import QuadraticForm
from meta.tasks.recurrent_lm import RecurrentLM
from meta.tasks.registry import META_TRAINING, TASKS, make, parameter_shapes
from meta.tasks.transformer_lm import TransformerLM

__all__ = [
    "META_TRAINING",
    "TASKS",
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
    "make",
    "parameter_shapes",
    "stack_tasks",
]
