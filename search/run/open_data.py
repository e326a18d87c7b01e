"""Access to the data that an experiment names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import registry
from datasets.store.remote import whereabouts
from ogmge.fit import Data
from search.run.folder import UNKNOWN
from search.run.member_check import check_members


def open_data(section: Mapping[str, Any]) -> Data:
    """Open the data set of an experiment's `dataset` section.

    Raises:
        datasets.registry.DatasetError: if the data are missing or not prepared.
        DataError: if what is opened is no data set.
    """
    data: Data = registry.options(section).open()
    check_members(data)
    return data


def store_of(section: Mapping[str, Any]) -> dict[str, str]:
    """Return the option `store`, if the data set has it: a URI, or an absolute path, which holds in every worker."""
    store = section.get("store")
    return {"store": whereabouts(store)} if isinstance(store, str) else {}


def fingerprint_of(data: Data) -> str:
    """Return the data's own fingerprint, or `UNKNOWN` if they have none."""
    return str(getattr(data, "fingerprint", UNKNOWN))
