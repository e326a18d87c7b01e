"""Data sets: from what a publisher ships to batches. Knows nothing of models or of the search."""
