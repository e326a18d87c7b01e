"""Readers of data sets in their publishers' layouts."""
