"""The report's plots, each with what it says in words."""
