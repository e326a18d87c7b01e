"""Shared prefixes: epochs that several trials share are trained only once."""
