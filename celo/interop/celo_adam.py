"""Upstream's meta-parameters of Celo-Adam: Celo's scheduler, without its unused second head."""

from celo.interop.celo import SCHEDULER
from celo.interop.layout import Layout

LAYOUT: Layout = SCHEDULER
