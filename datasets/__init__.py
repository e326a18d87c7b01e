"""Data sets: from a publisher's files to batches. Knows nothing about models or the search.

`InMemory` and `Split` are for custom data sets. They are loaded on first use, because importing torch takes seconds.
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
