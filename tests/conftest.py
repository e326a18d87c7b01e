"""One Ray for all tests of a process that need it, as starting one takes seconds; the longest files first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

LONGEST = ("test_search", "test_cluster", "test_data_commands", "test_tracking", "test_training_resume", "test_prepare")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to two processes in this order: a long one at the end would run alone."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[None]:
    from search.cluster import local_ray

    with local_ray(cpus=2, gpus=1):  # where there is no GPU it is a pretended one, which can be shared all the same
        yield
