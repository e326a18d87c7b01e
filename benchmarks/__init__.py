"""Benchmarks, each run manually with `python -m benchmarks.NAME`."""
