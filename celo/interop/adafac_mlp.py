"""Upstream's meta-parameters of the small MLP with Adafactor features."""

from celo.interop.layout import Layout, copy

LAYOUT: Layout = (
    *(copy(f"mlp/{name}", f"nn/~/{name}") for name in ("w0", "b0", "w1", "b1", "w2", "b2")),
    copy("decays/momenta", "momentum_decays"),
    copy("decays/v", "rms_decays"),
    copy("decays/factored", "adafactor_decays"),
)
