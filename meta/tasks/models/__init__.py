"""Networks on images, as flax modules: configuration in hashable fields, parameters apart."""

from celo.meta.tasks.models.convnet import ConvNet
from celo.meta.tasks.models.mlp_mixer import MLPMixer
from celo.meta.tasks.models.perceptron import Perceptron
from celo.meta.tasks.models.resnet import ResNet
from celo.meta.tasks.models.vision_transformer import VisionTransformer

__all__ = ["ConvNet", "MLPMixer", "Perceptron", "ResNet", "VisionTransformer"]
