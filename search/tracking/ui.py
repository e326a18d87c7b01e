"""MLflow's web page for the runs on this machine."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from search.tracking.client import read_run_id, store_uri
from search.tracking.lists import VIEW, VIEW_KEY

HOST = "127.0.0.1"
START_S = 120


def _free_port(wanted: int) -> int:
    """Return `wanted`, or another free port if that one is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {HOST}")


def pages(folder: Path, uri: str, port: int) -> list[str]:
    """Return the addresses of the run's own page, which shows its results, and of the list of searches with verdicts.

    If the run is not in MLflow, this is the front page alone.
    """
    import mlflow

    base = f"http://{HOST}:{port}/"
    run_id = read_run_id(folder)
    if run_id is None:
        return [base]
    client = mlflow.MlflowClient(uri)
    try:
        experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    except mlflow.MlflowException:  # deleted there, or of another store
        return [base]
    runs = f"{base}#/experiments/{experiment.experiment_id}/runs"
    return [f"{runs}/{run_id}", *([f"{runs}?viewStateShareKey={VIEW_KEY}"] if VIEW in experiment.tags else [])]


def _wait_for(server: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return True
        time.sleep(0.2)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and all processes it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)


def serve(folder: Path, runs: Path, uri: str | None, port: int, tell: Callable[[str], None]) -> int:
    """Serve MLflow's page to this machine only, until Ctrl-C; return the exit code."""
    store = store_uri(uri, runs)
    if uri is not None and uri.startswith("http"):
        tell(f"the runs are on a server; open it in a browser:\n{uri}")
        return 0
    port = _free_port(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", HOST]
    command += ["--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        tell("starting MLflow …")
        if not _wait_for(server, port):
            tell(f"MLflow's server did not start. To see why, run:\n{shlex.join(command)}")
            return 1
        for address in pages(folder, store, port):
            tell(address)
        tell("Press Ctrl-C to stop.")
        server.wait()
        return server.returncode
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
