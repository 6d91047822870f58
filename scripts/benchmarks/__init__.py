"""Benchmarks behind `celo benchmark`: meta-training, updates and evaluation."""
