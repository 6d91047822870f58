"""Upstream's meta-parameters of RNN-MLP."""

from celo.interop.layout import Layout, copy, linear, mlp, squeeze

LAYOUT: Layout = (
    *mlp("mlp", "ffmod_params/mlp/~/linear_", layers=3),
    *linear("lstm", "rnn_params/rnn/linear"),
    squeeze("initial/hidden", "lstm_init_state/hidden"),
    squeeze("initial/cell", "lstm_init_state/cell"),
    *linear("to_mlp", "rnn_to_ff_params/rnn_to_ff"),
    *linear("to_lstm", "rnn_to_in_params/rnn_to_in"),
    copy("from_mlp", "initial_from_mlp"),
    copy("from_lstm", "initial_from_lstm"),
)
