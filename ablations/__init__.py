"""Ablations: the grid of changes to the recipe, as data, and its table."""
