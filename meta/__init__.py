"""Meta-training: datasets, tasks, truncation, gradient estimators, recipes, trainer and run folders."""
