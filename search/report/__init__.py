"""One page on a run: the verdict in words, what it rests on, and what was searched."""
