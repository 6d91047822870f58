"""Upstream's meta-parameters of the MLP over momenta."""

from celo.interop.layout import Layout, mlp

LAYOUT: Layout = mlp("mlp", "mlp/~/linear_", layers=3)
