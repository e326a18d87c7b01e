"""Measurements, each run by hand as `python -m benchmarks.NAME`."""
