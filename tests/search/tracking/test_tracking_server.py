"""A real MLflow server that is slow, silent or away: the search does not wait, and delivers everything later."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from search.tracking import outbox
from search.tracking import tracker as tracking
from tests.search.tracking.test_tracking import Search, check_in_line, statuses, until
from tests.search.tuner.test_tuner import _engine
from tests.support.searches import wait_for
from tests.support.tells import tells

pytestmark = pytest.mark.slow  # MLflow's server is slow to start


class _Through(BaseRequestHandler):
    """Handler of one connection."""

    def handle(self) -> None:
        proxy: Proxy = self.server
        with suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port)) as server:
            threading.Thread(target=self._answers, args=(server,), daemon=True).start()
            while data := self.request.recv(2**16):
                proxy.asked += 1
                if proxy.refuses:
                    return
                proxy.passes.wait()
                time.sleep(proxy.delay_s)
                server.sendall(data)

    def _answers(self, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(2**16):
                self.request.sendall(data)


class Proxy(ThreadingTCPServer):
    """Proxy between the search and MLflow's server.

    Attributes:
        passes: event; while it is cleared, requests are held back.
        refuses: whether every connection is closed.
        delay_s: delay of each piece of data from the client, in seconds.
        asked: number of pieces from the client so far.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Through)
        self.port = port
        self.passes = threading.Event()
        self.behave()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def behave(self) -> None:
        self.refuses, self.delay_s, self.asked = False, 0.0, 0
        self.passes.set()

    def misbehave(self, how: str) -> None:
        self.asked = 0
        if how == "answers nothing":
            self.passes.clear()
        self.refuses = how == "refuses"
        self.delay_s = 0.5 if how == "is slow" else 0.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    """Start a server with its own database; yield the proxy in front of it, and its folder."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # saves seven idle processes
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(None, lambda: started.poll() is not None or answers(port))
            assert started.poll() is None, (folder / "log").read_text()
            with Proxy(port) as proxy:
                yield proxy, folder
                proxy.shutdown()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def search(server, tmp_path, monkeypatch) -> Iterator[Search]:
    proxy, folder = server
    monkeypatch.setattr(outbox, "EVERY_S", 0.0)
    monkeypatch.setattr(outbox, "AGAIN_AFTER_S", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    yield Search(tmp_path, tmp_path.name, (f"tracking.uri={proxy.uri}",), folder)
    proxy.behave()


def begin(search: Search, engine: Iterator[None]) -> None:
    """Run some epochs, until the server has the first trials."""
    for _ in islice(engine, 6):
        pass
    until(lambda: len(statuses(search)) >= 2)


@pytest.mark.parametrize(
    "how", ["answers nothing", *(pytest.param(how, marks=pytest.mark.longer) for how in ("refuses", "is slow"))]
)
def test_a_search_goes_on_while_the_server_does_not_and_delivers_later(server, search, how):
    proxy, _ = server
    search.track()
    engine = _engine(search.tuner, 2)
    begin(search, engine)
    proxy.misbehave(how)
    for _ in engine:
        pass
    assert search.tuner.complete
    assert len(statuses(search)) < 8, "the server knows the whole search already"
    until(lambda: proxy.asked > 2)  # calls are repeated
    assert len(statuses(search)) < 8
    proxy.behave()
    assert search.close() is None
    check_in_line(search)


def test_nobody_waits_long_for_a_server_that_hangs_at_the_end(server, search, monkeypatch):
    proxy, _ = server
    monkeypatch.setattr(tracking, "CLOSE_S", 1.0)
    search.track()
    engine = _engine(search.tuner, 2)
    begin(search, engine)
    proxy.misbehave("answers nothing")
    for _ in engine:
        pass
    lack = search.close()
    tells(lack, "--resume")
    assert len(statuses(search)) < 8
    proxy.behave()
    for thread in search.threads:
        thread.join()
    monkeypatch.setattr(tracking, "CLOSE_S", 60.0)
    resumed = search.again()
    resumed.track()
    assert resumed.close() is None
    check_in_line(resumed)
