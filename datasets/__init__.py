"""Data sets: from what a publisher ships to batches. Knows nothing of models or of the search.

`InMemory` and `Split` are for data sets of one's own; they are loaded when they are asked for, as torch takes seconds.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.loader.in_memory import InMemory, Split

__all__ = ["InMemory", "Split"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from datasets.loader import in_memory

        return getattr(in_memory, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
