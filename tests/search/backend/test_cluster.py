"""An existing Ray cluster: two real nodes on this machine, with a token."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner
from mlflow import MlflowClient
from pyarrow import fs

from datasets import registry
from datasets.store.prepare import prepare
from datasets.store.remote import Remote, RemoteError
from search.backend import cluster, node_check
from search.backend.cluster import local_ray, own_modules, sources
from search.backend.node_check import ClusterError, check_nodes, find_problems
from search.cli.main import main
from search.experiment.load import load
from search.run.checkpoints import KEPT
from search.run.folder import RunFolder
from search.run.journal import read
from tests.search.commands.test_prepare_and_check import SMALL
from tests.support import ROOT, media_trees
from tests.support.searches import own, start
from tests.support.tells import tells

DEMO = ROOT / "experiments" / "demo.yaml"
VGGSOUND = ROOT / "experiments" / "vggsound.yaml"
MINE = """
import os
import time
import ogmge
from ogmge.encoders import small_conv


def small(shape):
    import ray

    node = ray.get_runtime_context().get_node_id() if "RAY_RAYLET_PID" in os.environ else "driver"
    with open(os.environ["OGMGE_SEEN"], "a") as seen:
        print(node, ogmge.__file__, __file__, file=seen)
    until = time.monotonic() + 120
    while node != "driver" and time.monotonic() < until:  # otherwise the node that is ready first may train both trials
        if len({line.split(" ", 1)[0] for line in open(os.environ["OGMGE_SEEN"])} - {"driver"}) > 1:
            break
        time.sleep(0.1)
    return small_conv(shape)
"""


RAY_START = """
import sys
from ray._private import services
from ray.scripts.scripts import start

services.resolve_ip_for_localhost = lambda host: host  # otherwise it listens on the network
start([*sys.argv[1:], "--node-ip-address=127.0.0.1"])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["somewhere", "host:port", "ray://127.0.0.1:10001", ""])
def test_an_address_that_is_none_is_a_mistake(address):
    result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), f"search.address='{address}'"])
    assert result.exit_code == 2
    tells(result.output, "`search.address`", repr(address), "`local`", "`auto`", "host:port", "(command line)")


def test_where_nobody_answers_is_told_at_once(tmp_path, monkeypatch):
    given = media_trees.vggsound(tmp_path)
    where = [f"dataset.{key}={json.dumps(value)}" for key, value in given.items()]
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)  # as Ray sets it in a job
    monkeypatch.setattr(ray, "init", None)  # must not be called: Ray's own attempt takes more than a minute
    for written in (address, "auto"):
        result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), *where, f"search.address={written}"])
        assert result.exit_code == 2, result.output
        tells(result.output, address, "`search.address`", os.strerror(errno.ECONNREFUSED))
    monkeypatch.delenv("RAY_ADDRESS")
    result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), *where, "search.address=auto"])
    assert result.exit_code == 2, result.output
    tells(result.output, "`search.address`", "RAY_ADDRESS", "host:port", "''")


def test_the_users_modules_are_those_that_the_experiment_names():
    own = load(
        DEMO,
        [
            "dataset={name: 'tests.support.own_data:Vectors'}",
            "trial.encoder={left: mlp, right: 'mine.nets:small'}",
            "space.fusion=[concat, 'heads:best', 'ogmge.fusion:Sum']",
        ],
    )
    assert own_modules(own) == {"tests", "mine", "heads"}
    assert own_modules(load(DEMO, ["trial.encoder=torchvision:resnet18"])) == set()


def test_what_is_installed_is_not_sent(tmp_path, monkeypatch):
    (tmp_path / "heads.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert sources({"heads", "numpy"}) == [str(tmp_path / "heads.py")]


def test_what_nodes_do_not_see_or_have_is_told_for_each(ray_instance, tmp_path, monkeypatch):
    monkeypatch.setattr(node_check, "NEEDED", ("torch", "no_such_package"))
    seen, store = tmp_path / "seen", (tmp_path / "store").as_uri()
    read = {"dataset.source": str(tmp_path / "unseen"), "dataset.store": store}
    with pytest.raises(ClusterError) as told:
        check_nodes(read, {"search.storage": seen.as_uri()})
    first, second, third = str(told.value).splitlines()
    tells(first, tmp_path / "unseen", "`dataset.source`")
    tells(second, store, "`dataset.store`")
    tells(third, "no_such_package")
    for line in (first, second, third):
        tells(line, ray.nodes()[0]["NodeManagerAddress"])
    assert list(seen.iterdir()) == []  # the marks are gone
    monkeypatch.setattr(node_check, "NEEDED", ("torch",))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").touch()
    check_nodes({"dataset.source": str(tmp_path), "dataset.store": store}, {"the folder of the run": str(seen)})
    assert list(seen.iterdir()) == []


def test_what_a_node_cannot_write_to_is_told(tmp_path):
    """A node may see files of other nodes but have no permission to write."""
    (tmp_path / ".seen-1").touch()
    there = node_check.Remote

    class ReadOnly(there):
        def put(self, file: Path, name: str) -> None:
            raise RemoteError("file:///x cannot be written to (Permission denied)")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_check, "Remote", ReadOnly)
        told = find_problems({}, {"search.storage": (tmp_path.as_uri(), ".seen-1")}, ())
    [line] = told
    tells(line, "`search.storage`", "file:///x cannot be written to (Permission denied)")
    [line] = find_problems({}, {"search.storage": (tmp_path.as_uri(), ".seen-2")}, ())
    tells(line, "`search.storage`", tmp_path.as_uri())
    assert find_problems({}, {"search.storage": (tmp_path.as_uri(), ".seen-1")}, ()) == []
    assert [file.name for file in tmp_path.iterdir()] == [".seen-1"]


def test_a_store_at_a_uri_is_not_prepared_by_a_cluster(tmp_path):
    given = media_trees.vggsound(tmp_path)
    words = [f"dataset.source={json.dumps(given['source'])}", "dataset.store=s3://bucket/x", "search.address=here:1"]
    result = CliRunner().invoke(main, ["prepare", str(VGGSOUND), *words])
    assert result.exit_code == 2
    tells(result.stderr, "`dataset.store`", "s3://bucket/x", "fs.copy_files('FOLDER', 's3://bucket/x')")


def listening(root: int) -> set[str]:
    """Return the addresses that a process and its descendants listen on, in the kernel's format."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    links = set()
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                links.add(os.readlink(link))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


def test_a_ray_of_our_own_listens_to_this_machine_only(ray_instance):
    ray.get(ray.remote(lambda: None).remote())  # starts a worker
    assert {address[-8:] for address in listening(os.getpid())} == {"0100007F"}  # 127.0.0.1, also written as IPv6


def test_cpus_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cluster.own_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= cluster.own_cpus() <= len(before)


def test_a_ray_that_somebody_left_running_is_not_joined(monkeypatch):
    """By default, `ray.init` joins the cluster in RAY_ADDRESS, or one that runs on the machine."""
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
    """Run `ray start` in the foreground; at the end, kill it with everything it has started."""
    log = folder / f"{secrets.token_hex(4)}.log"
    command = [sys.executable, "-c", RAY_START, "--block", "--disable-usage-stats", *arguments]
    ours = ("PYTHONPATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")  # workers must only use the code that is sent
    without = {name: value for name, value in os.environ.items() if name not in ours}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, cwd=folder, env=without)
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
def two_nodes(s3: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a cluster of two nodes with one core each; the environment has its token and S3's keys."""
    folder = tmp_path_factory.mktemp("cluster")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as short:
            # a socket's path may have at most 107 characters; pytest's folders are longer
            head = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", f"--temp-dir={short}")
            with node(folder, *head), node(folder, f"--address=127.0.0.1:{port}", "--num-cpus=1"):
                yield f"127.0.0.1:{port}"


def command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` as a user would."""
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
def test_a_cluster_prepares_a_store_and_searches_a_copy_of_it_with_all_nodes(two_nodes, s3, tmp_path):
    """The whole way: prepare in a folder, copy to S3, dry run, and search with checkpoints in S3."""
    given = media_trees.vggsound(tmp_path / "Daten é", train=4)
    where = [f"dataset.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    done = command(tmp_path, "-m", "search", "prepare", str(VGGSOUND), *where, f"search.address={two_nodes}")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(str(given["store"]))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    options = registry.options({"name": "vggsound", **given})
    assert prepare("vggsound", options.index(), options.settings(), folder, parallel=map).skipped_shards > 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before  # the same as prepared on one machine

    fs.copy_files(str(folder), s3("stores/vggsound"))
    for name in ("start", "bin"):  # not in the script's or the working folder, where Ray's workers look anyway
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "mine.py").write_text(MINE)
    (tmp_path / "start" / "here.py").write_text("from search.cli.main import search_command; search_command()")
    words = [*where, f"dataset.store={s3('stores/vggsound')}", f"search.storage={s3('runs')}", *SMALL]
    words += ["trial.encoder=mine:small", "space.optimizer.lr=[1e-3,1e-2]", f"search.address={two_nodes}"]
    words += ["search.resources={cpu: 1, gpu: 0}"]  # a node has one core
    told = {"OGMGE_STORES": str(tmp_path / "copies"), "OGMGE_SEEN": str(tmp_path / "seen")}
    told["PYTHONPATH"] = f"{ROOT}:{tmp_path / 'bin'}"
    search = [str(tmp_path / "start" / "here.py"), str(VGGSOUND), *words]
    planned = command(tmp_path, *search, "--dry-run", **told)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    tells(planned.stdout, "2 1 of 2 CPUs", "nodes")  # the row `at once`, and the sentence on the nodes' speed
    assert len([*(tmp_path / "copies").iterdir()]) == 1
    (tmp_path / "seen").unlink()  # written by the models of the dry run
    done = command(tmp_path, *search, **told)
    assert done.returncode == 0, done.stdout + done.stderr
    record = read(RunFolder(tmp_path / "runs" / "vggsound").journal)
    assert [trial.status for trial in record] == ["finished", "finished"]
    seen = [line.split(" ", 1) for line in (tmp_path / "seen").read_text().splitlines()]
    workers = {node: ours for node, ours in seen if node != "driver"}
    assert len(workers) == 2  # both nodes trained
    for ours in workers.values():  # our code was sent; the user's is in a folder that the nodes share
        assert ours.count("py_modules") == 1
        assert str(tmp_path / "bin" / "mine.py") in ours
    run = Remote(s3(f"runs/{(tmp_path / 'runs' / 'vggsound' / 'storage').read_text()}"))
    kept = {f"{trial}/{file}": run.exists(f"{trial}/{file}") for trial in ("0000", "0001") for file in KEPT}
    assert kept == {"0000/best.pt": True, "0000/last.pt": False, "0001/best.pt": True, "0001/last.pt": False}


@pytest.mark.slow
@pytest.mark.longer
def test_two_searches_share_a_cluster_and_a_database(two_nodes, tmp_path):
    """They begin at the same moment; each has all of its trials in its own run in MLflow."""
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    words = [f"search.address={two_nodes}", f"tracking.uri={uri}", "search.resources={cpu: 1, gpu: 0}"]
    processes = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        own("Logged", tmp_path / name)
        shutil.copy(ROOT / "tests" / "support" / "own_data.py", tmp_path / name / "vectors.py")  # sent to the nodes
        arguments = [
            str(ROOT / "run_search.py"),
            "own.yaml",
            f"name={name}",
            "dataset={name: 'vectors:Logged'}",
            *words,
        ]
        processes[name] = start(tmp_path / name, *arguments)
    for name, process in processes.items():
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output
        assert "locked" not in output
        client = MlflowClient(uri)
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        trials = [run for run in runs if run is not parent]
        assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
        assert sorted(run.data.tags["trial"] for run in trials) == ["0", "1", "2", "3"]
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in trials:
            assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [0, 1, 2]


@pytest.mark.slow
def test_a_wrong_token_is_told(two_nodes, tmp_path):
    words = ["-m", "search", "prepare", str(VGGSOUND), f"search.address={two_nodes}"]
    words += [f"dataset.{key}={json.dumps(value)}" for key, value in media_trees.vggsound(tmp_path / "tree").items()]
    done = command(tmp_path, *words, RAY_AUTH_TOKEN="0" * 64, RAY_NUM_REDIS_GET_RETRIES="2")
    assert done.returncode == 2, done.stdout + done.stderr
    tells(done.stderr, two_nodes, "RAY_AUTH_TOKEN")
    assert "Traceback" not in done.stderr
