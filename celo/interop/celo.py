"""Upstream's meta-parameters of Celo."""

from celo.interop.layout import Layout, discard_linear, feature_groups, linear, squeeze

# How the 30 features are grouped: g, clip(g), p, m, v, m r, r, y, g r, row, col, their roots, m rf cf.
FEATURE_GROUPS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)

SCHEDULER: Layout = (
    *discard_linear("rnn_params/linear", like="scheduler/mix_relu"),
    *linear("scheduler/mix_relu", "rnn_params/linear_1"),
    *linear("scheduler/mix_linear", "rnn_params/linear_2"),
    *linear("scheduler/lstm", "rnn_params/rnn/linear"),
    *linear("scheduler/step_size", "rnn_params/step_size"),
    squeeze("scheduler/initial/hidden", "lstm_init_state/hidden"),
    squeeze("scheduler/initial/cell", "lstm_init_state/cell"),
)
"""The scheduler, as Celo and Celo-Adam have it."""

UPDATE_RULE: Layout = (
    feature_groups("mlp/w0", "ff_mod_stack/~/w0__", FEATURE_GROUPS, leading=True),
    squeeze("mlp/b0", "ff_mod_stack/~/b0"),
    squeeze("mlp/w1", "ff_mod_stack/~/w1"),
    squeeze("mlp/b1", "ff_mod_stack/~/b1"),
    squeeze("mlp/w2", "ff_mod_stack/~/w2"),
    squeeze("mlp/b2", "ff_mod_stack/~/b2"),
)

LAYOUT: Layout = (
    *UPDATE_RULE,
    *SCHEDULER,
    *discard_linear("rnn_params/rnn_to_controls", like="scheduler/step_size"),
)
