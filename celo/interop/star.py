"""Upstream's meta-parameters of STAR: those of the small MLP, with four outputs."""

from celo.interop.adafac_mlp import LAYOUT as ADAFAC_MLP
from celo.interop.layout import Layout

LAYOUT: Layout = ADAFAC_MLP
