"""Upstream's meta-parameters of NN-Adam."""

from celo.interop.layout import Layout, copy, linear, squeeze

LAYOUT: Layout = (
    *linear("lstm", "rnn_params/rnn/linear"),
    squeeze("initial/hidden", "lstm_init_state/hidden"),
    squeeze("initial/cell", "lstm_init_state/cell"),
    *linear("controls", "rnn_to_controls_params/rnn_to_controls"),
    copy("hyperparameters/learning_rate", "per_layer_lr"),
    copy("hyperparameters/b1", "per_layer_beta1"),
    copy("hyperparameters/b2", "per_layer_beta2"),
    copy("hyperparameters/epsilon", "per_layer_epsilon"),
)
