"""What takes seconds to start is started once for all tests of a process: a Ray, an S3 server. The longest first."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator

import pytest

LONGEST = (
    "test_search",
    "test_search_processes",
    "test_confirm_processes",
    "test_cluster",
    "test_data_commands",
    "test_tracking",
    "test_training_resume",
    "test_prepare",
)


def pytest_configure() -> None:
    """Where the tests run in the background of a shell, Ctrl-C is ignored, and would be by all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to two processes in this order: a long one at the end would run alone."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def ray_instance() -> Iterator[None]:
    from search.execution.cluster import local_ray

    with local_ray(cpus=2, gpus=1):  # where there is no GPU it is a pretended one, which can be shared all the same
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[str], str]]:
    """A real S3 server on the loopback address: the URI of a folder in its bucket."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    place = f"scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        made, path = fs.FileSystem.from_uri(f"s3://bucket?{place}&allow_bucket_creation=true")
        made.create_dir(path)
        yield lambda folder: f"s3://bucket/{folder}?{place}"
    server.stop()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several get in each other's way where other programs run, and small matrices gain nothing by them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
