"""`datasets.loader.in_memory`, by the name that users' modules know."""

from datasets.loader.in_memory import Batch, InMemory, Split, order

__all__ = ["Batch", "InMemory", "Split", "order"]
