"""Tasks drawn from a distribution: families with their ranges, and tasks by name."""

from celo.meta.tasks.sampled.family import Family
from celo.meta.tasks.sampled.names import FAMILIES, check_sampled, find_sampled, is_sampled

__all__ = ["FAMILIES", "Family", "check_sampled", "find_sampled", "is_sampled"]
