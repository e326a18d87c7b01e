"""One Ray instance for all tests that need it: starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[None]:
    from search.cluster import local_ray

    with local_ray(cpus=2):
        yield
