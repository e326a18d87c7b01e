"""Public alias of `datasets.loader.in_memory`, for users' modules."""

from datasets.loader.in_memory import Batch, InMemory, Split, order

__all__ = ["Batch", "InMemory", "Split", "order"]
