"""Upstream's meta-parameters of Celo2 and Celo2-base, which are alike."""

from celo.interop.celo import FEATURE_GROUPS
from celo.interop.layout import Layout, copy, feature_groups

LAYOUT: Layout = (
    feature_groups("mlp/w0", "ff_mod_stack/~/w0__", FEATURE_GROUPS),
    *(copy(f"mlp/{name}", f"ff_mod_stack/~/{name}") for name in ("b0", "w1", "b1", "w2", "b2")),
)
