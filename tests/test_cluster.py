"""A Ray cluster that is there already: two real nodes on this machine, with a token."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner

from datasets import registry
from datasets.prepare import prepare
from datasets.store import Store
from search import cluster
from search.cli import main
from search.cluster import ClusterError, check_nodes, local_ray, own_modules
from search.validation import load
from tests import media_trees

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "experiments" / "demo.yaml"
VGGSOUND = ROOT / "experiments" / "vggsound.yaml"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["somewhere", "host:port", "ray://127.0.0.1:10001", ""])
def test_an_address_that_is_none_is_a_mistake(address):
    result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), f"search.address='{address}'"])
    assert result.exit_code == 2
    assert "neither `local` nor host:port of a Ray cluster's head (command line)" in result.output


def test_where_nobody_answers_is_told_at_once(tmp_path):
    given = media_trees.vggsound(tmp_path)
    where = [f"dataset.{key}={json.dumps(value)}" for key, value in given.items()]
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), *where, f"search.address={address}"])
    assert result.exit_code == 2, result.output
    assert f"no Ray cluster answers at {address} (`search.address`): Connection refused" in result.output
    assert time.monotonic() - began < 60  # Ray's own attempt takes longer


def test_the_users_modules_are_those_that_the_experiment_names():
    own = load(
        DEMO,
        [
            "dataset={name: 'tests.own_data:Vectors'}",
            "trial.encoder={left: mlp, right: 'mine.nets:small'}",
            "space.fusion=[concat, 'heads:best', 'ogmge.fusion:Sum']",
        ],
    )
    assert own_modules(own) == {"tests", "mine", "heads"}
    assert own_modules(load(DEMO, ["trial.encoder=torchvision:resnet18"])) == set()


def test_what_is_installed_is_not_sent(tmp_path, monkeypatch):
    (tmp_path / "heads.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert [m.__name__ for m in cluster._sent({"heads", "numpy"})] == ["heads"]


def test_what_nodes_do_not_see_or_have_is_told_for_each(ray_instance, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NEEDED", ("torch", "no_such_package"))
    seen = tmp_path / "seen"
    with pytest.raises(ClusterError) as told:
        check_nodes({"dataset.source": tmp_path / "unseen"}, {"dataset.store": seen})
    first, second = str(told.value).splitlines()
    assert f"does not see {tmp_path / 'unseen'} (`dataset.source`): put it where all nodes see it" in first
    assert "lacks no_such_package: install there what this machine has" in second
    assert list(seen.iterdir()) == []  # the mark is gone
    monkeypatch.setattr(cluster, "NEEDED", ("torch",))
    check_nodes({"dataset.source": tmp_path}, {"dataset.store": seen})


def test_a_ray_that_somebody_left_running_is_not_joined(monkeypatch):
    """`ray.init` joins what RAY_ADDRESS names, or whatever runs on the machine."""
    asked = {}

    def init(**options):
        asked.update(options)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    with local_ray():
        assert asked["address"] == "local"


# ---- two real nodes ----


@contextlib.contextmanager
def node(folder: Path, *arguments: str) -> Iterator[None]:
    """`ray start` in the foreground, with everything that it starts."""
    log = folder / f"{secrets.token_hex(4)}.log"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, cwd=folder)
    try:
        until = time.monotonic() + 90
        while b"Ray runtime started" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory) -> Iterator[str]:
    """The address of a cluster of two nodes with a core each; its token is in the environment."""
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as short:
            # a socket's path may have 107 characters, and pytest's folders are long
            head = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", f"--temp-dir={short}")
            with node(folder, *head), node(folder, f"--address=127.0.0.1:{port}", "--num-cpus=1"):
                yield f"127.0.0.1:{port}"


def command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it, in `folder`."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_store_is_prepared_by_all_nodes_of_a_cluster(two_nodes, tmp_path):
    given = media_trees.vggsound(tmp_path / "Daten é")
    where = [f"dataset.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    done = command(tmp_path, "-m", "search", "prepare", str(VGGSOUND), *where, f"search.address={two_nodes}")
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(Path(str(given["store"])))
    assert all(store.blobs(entry, "audio") for entry in store.entries())
    options = registry.options({"name": "vggsound", **given})
    before = {file.name: file.read_bytes() for file in store.folder.iterdir()}
    assert prepare("vggsound", options.index(), options.settings(), store.folder, parallel=map).skipped_shards > 0
    assert {file.name: file.read_bytes() for file in store.folder.iterdir()} == before  # as if prepared here


@pytest.mark.slow
def test_tasks_run_on_all_nodes_with_our_code_and_the_users(two_nodes, tmp_path):
    (tmp_path / "heads.py").write_text("answer = 42\n")
    code = (
        "import time, ray\n"
        "from search.cluster import cluster\n"
        "from search.prepare import ray_map\n"
        "def task(number):\n"
        "    import heads, ogmge, datasets.media\n"
        "    time.sleep(1)\n"
        "    assert heads.answer == 42 and 'py_modules' in ogmge.__file__\n"
        "    return ray.get_runtime_context().get_node_id()\n"
        f"with cluster({two_nodes!r}, ['heads']):\n"
        "    print(len(set(ray_map(task, range(6)))))\n"
    )
    (tmp_path / "tried.py").write_text(code)
    done = command(tmp_path, "tried.py", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


@pytest.mark.slow
def test_a_search_runs_on_a_cluster_with_data_of_ones_own(two_nodes, tmp_path):
    (tmp_path / "mine.py").write_text("from tests.own_data import Vectors\n\n\nclass Mine(Vectors):\n    pass\n")
    words = ["dataset={name: 'mine:Mine'}", "trial.encoder=mlp", "trial.epochs=1", "search.trials=2"]
    words += ["trial.modulation.parameters=all", "space.modulation.start=[0]", "space.modulation.end=[0]"]
    words += ["trial.schedule={name: constant}", f"search.address={two_nodes}"]
    done = command(tmp_path, str(ROOT / "run_search.py"), str(DEMO), *words, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials in" in done.stdout
    assert "2 trained to the end, 0 stopped early, 0 failed" in done.stdout


@pytest.mark.slow
def test_a_wrong_token_is_told(two_nodes, tmp_path):
    words = ["-m", "search", "prepare", str(VGGSOUND), f"search.address={two_nodes}"]
    words += [f"dataset.{key}={json.dumps(value)}" for key, value in media_trees.vggsound(tmp_path / "tree").items()]
    done = command(tmp_path, *words, RAY_AUTH_TOKEN="0" * 64, RAY_NUM_REDIS_GET_RETRIES="2")
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"the Ray cluster at {two_nodes} cannot be joined" in done.stderr
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
