"""Benchmarks beside rivals, and their results."""
