"""Everything about a GPU that this project states, measured by one command: `python -m benchmarks.gpu`."""
