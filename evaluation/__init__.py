"""Evaluation: suites of tasks, the runner, the results store, scores and reports."""
