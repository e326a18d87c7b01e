"""The data that an experiment names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import registry
from datasets.store.remote import whereabouts
from ogmge.fit import Data
from search.run.folder import UNKNOWN


def open_data(section: Mapping[str, Any]) -> Data:
    """The data of an experiment's `dataset` section.

    Raises:
        datasets.registry.DatasetError: they are not there, or not prepared.
    """
    data: Data = registry.options(section).open()
    return data


def store_of(section: Mapping[str, Any]) -> dict[str, str]:
    """The option `store` of a data set that has one: a URI, or a path that is the same wherever a worker is at home."""
    store = section.get("store")
    return {"store": whereabouts(store)} if isinstance(store, str) else {}


def fingerprint_of(data: Data) -> str:
    """The data's own, where they have one."""
    return str(getattr(data, "fingerprint", UNKNOWN))
