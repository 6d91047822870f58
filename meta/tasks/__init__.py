"""Tasks: optimizees with their data, as pytrees that go through jit and stack for vmap."""

from celo.meta.tasks.base import Task, stack_tasks
from celo.meta.tasks.es_wrapped import ESWrapped
from celo.meta.tasks.image_autoencoder import ImageAutoencoder
from celo.meta.tasks.image_classifier import ImageClassifier
from celo.meta.tasks.image_mlp import ImageMLP
from celo.meta.tasks.learned_optimizer_training import LearnedOptimizerTraining
from celo.meta.tasks.pes_training import PESTraining
from celo.meta.tasks.quadratic import Quadratic
from celo.meta.tasks.quadratic_form import QuadraticForm
from celo.meta.tasks.recurrent_lm import RecurrentLM
from celo.meta.tasks.registry import META_TRAINING, TASKS, make, parameter_shapes
from celo.meta.tasks.transformer_lm import TransformerLM

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
