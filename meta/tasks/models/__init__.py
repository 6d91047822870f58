"""Networks on images, as flax modules: configuration in hashable fields, parameters apart."""

from meta.tasks.models.convnet import ConvNet
from meta.tasks.models.mlp_mixer import MLPMixer
from meta.tasks.models.perceptron import Perceptron
from meta.tasks.models.resnet import ResNet
from meta.tasks.models.vision_transformer import VisionTransformer

__all__ = ["ConvNet", "MLPMixer", "Perceptron", "ResNet", "VisionTransformer"]
