"""Plots of the report, each with a description in words."""
