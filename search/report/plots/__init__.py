"""The report's plots, each with a description in words."""
