"""Upstream's meta-parameters of VeLO and VeLO-S."""

from celo.interop.celo import FEATURE_GROUPS, SCHEDULER
from celo.interop.layout import Layout, copy, feature_groups, linear

LAYOUT: Layout = (
    feature_groups("bank/w0", "ff_mod_stack/~/w0__", FEATURE_GROUPS),
    *(copy(f"bank/{name}", f"ff_mod_stack/~/{name}") for name in ("b0", "w1", "b1", "w2", "b2")),
    *SCHEDULER,
    *linear("controls", "rnn_params/rnn_to_controls"),
)
