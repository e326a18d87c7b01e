"""Preparation of a store: killed, out of disk space, misused or interrupted, with the same bytes or an error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from datasets.index.clips import Clip, Index, Source
from datasets.registry import DatasetError
from datasets.store import prepare as prepare_module
from datasets.store.prepare import TooManyQuarantined, prepare, processes
from datasets.store.settings import Audio, Frames, Limits
from datasets.store.shards import make_shard, read_shard
from datasets.store.store import Store, StoreError
from tests.support import ROOT
from tests.support.films import chirp, jpegs, moving, write
from tests.support.tells import tells

SETTINGS = {"audio": Audio(sample_rate_hz=8000, seconds=0.5, n_fft=256, hop=128), "visual": Frames(per_clip=3)}
CLIPS, A_SHARD = 24, 2


def here(function, tasks):
    """Run the tasks in this process, one after the other."""
    return map(function, tasks)


def listing(folder: Path, count: int = CLIPS) -> Index:
    """Clips cut from a few videos; the sixth is an empty file."""
    films = [write(folder / f"{i}.mp4", moving(20, 128, 160, seed=i), chirp(0.8, 16000), rate=16000) for i in range(3)]
    films.append(folder / "empty.mp4")
    films[-1].write_bytes(b"")
    clips = []
    for i in range(count):
        film = films[3 if i == 5 else i % 3]
        sources = {kind: Source(real, (film,), 0.01 * i) for kind, real in (("audio", "audio"), ("visual", "video"))}
        clips.append(Clip(f"clip{i}", "xy"[i % 2], "train", None, sources))
    return Index(("x", "y"), tuple(clips))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return listing(tmp_path_factory.mktemp("films"))


def run(index: Index, folder: Path, **options):
    limits = Limits(max_quarantined=options.pop("max_quarantined", 0.1))
    options = {"parallel": here, "limits": limits, "clips_per_shard": A_SHARD, **options}
    return prepare("films", index, options.pop("settings", SETTINGS), folder, **options)


def content(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of all files, including hidden ones."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(index, tmp_path_factory):
    """Content of a store prepared in one run: name -> sha256."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    run(index, folder)
    return content(folder)


def test_a_store_has_its_shards_and_nothing_temporary(whole):
    shards = {f"shard-{i:05d}.{end}" for i in range(CLIPS // A_SHARD) for end in ("arrow", "json")}
    assert set(whole) == {"lock", "plan.json", "manifest.json", *shards}


def test_the_bytes_do_not_depend_on_how_many_prepare_or_in_which_order(index, whole, tmp_path):
    run(index, tmp_path / "a", parallel=lambda function, tasks: map(function, reversed(tasks)))
    report = run(index, tmp_path / "b", parallel=processes(2))
    assert content(tmp_path / "a") == content(tmp_path / "b") == whole
    assert (report.clips, report.quarantined, report.skipped_shards) == (23, (("clip5", "empty file"),), 0)


def test_progress_counts_clips_and_quarantined_ones(index, tmp_path):
    seen: list[tuple[int, int, int]] = []
    run(index, tmp_path / "store", progress=lambda *now: seen.append(now))
    assert seen == [(i, 24, int(i >= 6)) for i in range(0, 25, 2)]


def test_what_is_there_and_whole_is_not_made_again(index, whole, tmp_path):
    folder = tmp_path / "store"
    run(index, folder)
    before = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
    assert run(index, folder).skipped_shards == 12
    assert {f.name: f.stat().st_mtime_ns for f in folder.iterdir()} == before


def damaged(path: Path) -> None:
    values = bytearray(path.read_bytes())
    values[len(values) // 2] ^= 255
    path.write_bytes(values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "shard-00003.arrow").unlink(),
        lambda f: (f / "shard-00003.json").unlink(),
        lambda f: os.truncate(f / "shard-00003.arrow", 100),
        lambda f: os.truncate(f / "shard-00003.json", 20),
        lambda f: (f / "shard-00003.json").write_text('{"file": "shard-00003.arrow"}'),
        lambda f: (f / "shard-00003.json").write_text("[1]"),
        lambda f: damaged(f / "shard-00003.arrow"),
        lambda f: (f / "manifest.json").unlink(),
        lambda f: os.truncate(f / "manifest.json", 50),
        lambda f: (f / "plan.json").unlink(),
        lambda f: (f / ".shard-00007.arrow.99-ab.part").write_bytes(b"left by one that was killed"),
    ],
)
def test_what_is_damaged_or_left_over_is_mended_by_preparing_again(index, whole, tmp_path, damage):
    folder = tmp_path / "store"
    run(index, folder)
    damage(folder)
    assert run(index, folder).skipped_shards >= 11
    assert content(folder) == whole


SCRIPT = """
import pickle, sys
from datasets.store.prepare import prepare, processes
from datasets.store.settings import Limits
if __name__ == "__main__":
    index, settings, folder = pickle.load(open(sys.argv[1], "rb"))
    def progress(done, total, lost):
        print(done, flush=True)
        if done >= int(sys.argv[2]):
            sys.stdin.read()  # until it is killed; the workers continue
    prepare("films", index, settings, folder, parallel=processes(2), limits=Limits(max_quarantined=0.1),
            clips_per_shard=2, progress=progress)
"""


@pytest.fixture
def started(index, tmp_path):
    """Start `prepare` as a process group that pauses after `clips` clips; return (process, folder)."""
    script, described, folder = tmp_path / "run.py", tmp_path / "index.pickle", tmp_path / "store"
    script.write_text(SCRIPT)
    described.write_bytes(pickle.dumps((index, SETTINGS, folder)))
    begun: list[subprocess.Popen[str]] = []

    def start(clips: int) -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, str(script), str(described), str(clips)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        begun.append(subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes))
        return begun[-1], folder

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], clips: int) -> None:
    """Wait until `clips` clips are done."""
    for line in process.stdout:
        if int(line) >= clips:
            return


def of_group(leader: int) -> list[int]:
    """Return the running processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("how", "clips"),
    [
        (signal.SIGKILL, 2),
        (signal.SIGINT, 8),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((signal.SIGKILL, 0), (signal.SIGKILL, 14))),
        pytest.param(signal.SIGTERM, 8, marks=pytest.mark.slow),
    ],
)
def test_stopped_at_any_point_it_goes_on_and_ends_with_the_same_bytes(index, whole, started, how, clips):
    process, folder = started(clips)
    until(process, clips)
    time.sleep(0.01 * clips)  # in the middle of a shard
    os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)  # Ctrl-C goes to the group
    process.wait(180)
    deadline = time.monotonic() + 180
    while of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert of_group(process.pid) == []  # the workers have ended with their parent
    assert not (folder / "manifest.json").exists()
    report = run(index, folder)
    assert report.skipped_shards >= clips // 2
    assert content(folder) == whole


@pytest.mark.parametrize("write_number", [1, 2, 3, 4, 9, 24, 26])
def test_killed_between_any_two_writes_it_ends_with_the_same_bytes(index, whole, tmp_path, write_number):
    """The process kills itself between writing a temporary file and renaming it."""
    folder = tmp_path / "store"
    process = os.fork()
    if not process:
        from datasets.store import shards

        written, real = 0, os.fsync

        def fsync(handle: int) -> None:
            nonlocal written
            real(handle)
            written += 1
            if written == 2 * write_number - 1:  # each file's sync is followed by its folder's
                os.kill(os.getpid(), signal.SIGKILL)

        shards.os.fsync = fsync
        try:
            run(index, folder)
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert any(f.suffix == ".part" for f in folder.iterdir())
    assert not (folder / "manifest.json").exists()
    run(index, folder)
    assert content(folder) == whole


def test_a_full_disk_is_told_and_when_there_is_room_it_goes_on(index, whole, tmp_path):
    """A limit on file sizes makes the kernel refuse a write in the middle of a shard."""
    folder = tmp_path / "store"
    sizes = sorted(Path(f).stat().st_size for f in _shards(index, tmp_path / "other"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[len(sizes) // 2], hard))
    try:
        with pytest.raises(DatasetError, match=r"\bshard-0000\d\b") as error:
            run(index, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tells(error.value, folder, os.strerror(errno.EFBIG))
    assert not [f.name for f in folder.iterdir() if f.suffix == ".part" or f.name == "manifest.json"]
    assert all(whole[name] == digest for name, digest in content(folder).items())
    run(index, folder)
    assert content(folder) == whole


def _shards(index: Index, folder: Path) -> list[Path]:
    run(index, folder)
    return sorted(folder.glob("*.arrow"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("at", ["plan.json", "shard-00002.json", "shard-00005.arrow", "manifest.json"])
def test_no_space_left_on_the_device_is_told_at_each_file(index, whole, tmp_path, monkeypatch, at):
    """The temporary file of one name is /dev/full, which accepts no bytes (ENOSPC)."""
    folder = tmp_path / "store"
    folder.mkdir()
    real = Path.open

    def full(path: Path, mode: str = "r", *args: object, **options: object):
        if path.name.startswith(f".{at}.") and "w" in mode:
            return real(Path("/dev/full"), "wb", buffering=0)
        return real(path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DatasetError) as error:
            run(index, folder)
        tells(error.value, folder, os.strerror(errno.ENOSPC), at.partition(".")[0])
    assert not [f.name for f in folder.iterdir() if f.suffix == ".part" or f.name == "manifest.json"]
    run(index, folder)
    assert content(folder) == whole


def test_too_many_quarantined_ends_with_their_table_and_a_raised_limit_goes_on(tmp_path):
    index = listing(tmp_path / "films", 10)
    silent = write(tmp_path / "silent.mp4", moving(5, 64, 96))
    bad = [replace(c, sources={**c.sources, "audio": Source("audio", (silent,))}) for c in index.clips[6:9]]
    index = replace(index, clips=(*index.clips[:6], *bad, *index.clips[9:]))
    folder = tmp_path / "store"
    with pytest.raises(TooManyQuarantined) as found:
        run(index, folder, max_quarantined=0.25)
    head, *table = str(found.value).splitlines()
    tells(head, "3 clips", 8, 10, "`dataset.max_quarantined`", 0.25)
    (often, silent_ones), (once, empty_ones) = (row.split(maxsplit=1) for row in table)
    assert (often, once) == ("2", "1")
    tells(silent_ones, "no sound", "clip6")
    tells(empty_ones, "empty file", "clip5")
    assert [id for id, _ in found.value.quarantined] == ["clip5", "clip6", "clip7"]
    assert not (folder / "manifest.json").exists()
    report = run(index, folder, max_quarantined=0.4)
    assert (report.clips, len(report.quarantined), report.skipped_shards) == (6, 4, 4)
    assert Store(folder).manifest.quarantine == report.quarantined


def test_a_share_that_is_just_allowed_is_allowed(index, tmp_path):
    assert run(index, tmp_path / "a", max_quarantined=1 / 24).clips == 23
    with pytest.raises(TooManyQuarantined):
        run(index, tmp_path / "b", max_quarantined=0.9 / 24)


def test_a_shard_without_any_clip_is_whole(tmp_path):
    index = listing(tmp_path / "films", 6)
    index = replace(index, clips=(index.clips[5], *index.clips[:5]))
    report = run(index, tmp_path / "store", clips_per_shard=1, max_quarantined=0.5)
    store = Store(tmp_path / "store")
    assert report.clips == 5
    assert [bytes(store.blobs(e, "visual")[0][:2]) for e in store.entries()] == [b"\xff\xd8"] * 5
    assert run(index, tmp_path / "store", clips_per_shard=1, max_quarantined=0.5).skipped_shards == 6


def never(function, tasks):
    raise AssertionError("nothing may be decoded")


def with_clip(index: Index, **values: object) -> Index:
    return replace(index, clips=(*index.clips[:3], replace(index.clips[3], **values), *index.clips[4:]))


@pytest.mark.parametrize(
    ("change", "lines", "facts"),  # facts of the last line
    [
        (lambda i: with_clip(i, label="z"), 1, ["label", "'z'", "clip3", "2 classes"]),
        (lambda i: with_clip(i, id="clip0"), 1, ["id", "clip0", "2 times"]),
        (lambda i: with_clip(i, split="dev"), 1, ["split", "'dev'", "clip3", "train, validation, test"]),
        (lambda i: with_clip(i, sources={}), 1, ["clip3", "settings", "audio, visual"]),
        (
            lambda i: with_clip(i, sources={**i.clips[3].sources, "audio": i.clips[3].sources["visual"]}),
            1,
            ["audio", "clip3", "video", "Audio"],
        ),
        (lambda i: replace(i, classes=("x", "y", "y")), 1, ["class", "twice"]),
        (lambda i: Index(("x",), (), ("a", "b")), 1, ["2 clips", "`dataset.source`"]),
        (lambda i: replace(i, classes=("q",)), 21, [4]),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_decoded_or_written(index, tmp_path, change, lines, facts):
    with pytest.raises(DatasetError) as error:
        run(change(index), tmp_path / "store", parallel=never)
    said = str(error.value).splitlines()
    assert len(said) == lines
    assert all(line.startswith("films: ") for line in said[:20])
    tells(said[-1], *facts)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"settings": {**SETTINGS, "visual": Frames(per_clip=5)}}, ["`stored_frames`", "visual", 3, 5]),
        ({"settings": {"visual": SETTINGS["visual"]}}, ["audio"]),
        ({"clips_per_shard": 3}, ["`clips_per_shard`", "2, now 3"]),
        ({"label": "y"}, ["list of clips", "labels"]),
        ({"fewer": True}, ["clips", "24, now 23"]),
    ],
)
def test_a_folder_of_another_store_is_refused_and_left_as_it_is(index, whole, tmp_path, change, facts):
    folder = tmp_path / "store"
    run(index, folder)
    options, other = dict(change), index
    if options.pop("label", None):
        other = with_clip(index, label="x")
    if options.pop("fewer", None):
        other = replace(index, clips=index.clips[:-1])
    if "visual" in options.get("settings", {}) and len(options["settings"]) == 1:
        only = [replace(c, sources={"visual": c.sources["visual"]}) for c in index.clips]
        other = replace(index, clips=tuple(only))

    def refusal() -> str:
        with pytest.raises(StoreError) as error:
            run(other, folder, parallel=never, **options)
        return str(error.value)

    said = refusal()
    first, last = said.splitlines()
    tells(first, folder)
    tells(first.replace(str(folder), ""), *facts)
    tells(last, "`dataset.store`")
    assert content(folder) == whole
    (folder / "manifest.json").unlink()  # the same before the manifest exists, and without the plan
    assert refusal() == said
    (folder / "plan.json").unlink()
    tells(refusal(), folder / "shard-00000.json", "`dataset.store`")


def test_a_store_of_another_version_is_left_as_it_is(index, tmp_path):
    folder = tmp_path / "store"
    run(index, folder)
    plan = json.loads((folder / "plan.json").read_bytes())
    (folder / "plan.json").write_text(json.dumps({"version": 2, "what": plan}))
    before = content(folder)
    with pytest.raises(StoreError) as error:
        run(index, folder, parallel=never)
    tells(error.value, folder, "version 2", "`dataset.store`")
    tells(str(error.value).replace(str(folder), ""), 1)
    assert content(folder) == before


def test_a_list_whose_files_moved_is_the_same_store(index, tmp_path):
    run(index, tmp_path / "store")

    def moved(clip: Clip) -> Clip:
        return replace(clip, sources={m: replace(s, paths=(tmp_path / "new",)) for m, s in clip.sources.items()})

    assert run(replace(index, clips=tuple(map(moved, index.clips))), tmp_path / "store").skipped_shards == 12


def without(index: Index, gone: Path, *numbers: int) -> Index:
    """Return the index of a list from which some clips' files have since disappeared."""
    clips = list(index.clips)
    for i in numbers:
        clips[i] = replace(clips[i], sources={m: replace(s, paths=(gone,)) for m, s in clips[i].sources.items()})
    return replace(index, clips=tuple(clips))


def test_a_file_that_is_gone_is_quarantined_and_looked_for_again_the_next_time(index, whole, tmp_path):
    folder, gone = tmp_path / "store", tmp_path / "gone.mp4"
    report = run(without(index, gone, 8), folder)
    id, reason = report.quarantined[1]
    assert (id, reason.partition(":")[0]) == ("clip8", "cannot be read")
    tells(reason, os.strerror(errno.ENOENT), gone)
    assert Store(folder).manifest.quarantine == report.quarantined
    again = run(index, folder)
    assert (again.clips, again.skipped_shards) == (23, 11)
    assert content(folder) == whole


def test_where_a_disk_is_not_mounted_any_more_nothing_is_lost(index, whole, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(TooManyQuarantined, match=r"\bcannot be read\b.*\bclip\d"):
        run(without(index, tmp_path / "gone.mp4", *range(8, 24)), folder)
    assert not (folder / "manifest.json").exists()
    assert run(index, folder).skipped_shards == 4
    assert content(folder) == whole


def test_a_plan_that_is_none_is_told(index, whole, tmp_path):
    run(index, tmp_path / "store")
    (tmp_path / "store" / "plan.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(StoreError) as error:
        run(index, tmp_path / "store")
    tells(error.value, tmp_path / "store" / "plan.json", "corrupt", "delete this file")
    (tmp_path / "store" / "plan.json").unlink()
    assert run(index, tmp_path / "store").skipped_shards == 12
    assert content(tmp_path / "store") == whole


def test_the_size_of_shards_is_the_folders_own(index, whole, tmp_path):
    run(index, tmp_path / "store")
    assert run(index, tmp_path / "store", clips_per_shard=None).skipped_shards == 12
    run(index, tmp_path / "new", clips_per_shard=None)
    assert len(list((tmp_path / "new").glob("*.arrow"))) == 2  # 16 clips per shard, of at most 64


def test_two_do_not_prepare_in_one_folder(index, tmp_path):
    folder = tmp_path / "store"

    def while_another_tries(function, tasks):
        with pytest.raises(DatasetError) as error:
            run(index, folder, parallel=never)
        tells(error.value, folder, "another process")
        return map(function, tasks)

    run(index, folder, parallel=while_another_tries)
    assert run(index, folder).skipped_shards == 12


def test_a_folder_that_cannot_be_made_is_told(index, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError) as error:
        run(index, tmp_path / "file" / "store")
    tells(error.value, tmp_path / "file" / "store", os.strerror(errno.ENOTDIR))


def _dies(task):
    if task.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_shard(task)


def test_a_worker_that_is_killed_is_told_and_it_goes_on(index, whole, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "make_shard", _dies)
        with pytest.raises(DatasetError, match=r"\b\d+ of 24 clips\b") as error:
            run(index, folder, parallel=processes(2))
        tells(error.value, folder, "killed", "memory")
    run(index, folder)
    assert content(folder) == whole


def of(films: list[Path], parts: list[tuple[float, float | None]] | None = None) -> Index:
    """Return the index of a clip per video, without sound."""
    clips = [
        Clip(film.name, "x", "train", None, {"visual": Source("video", (film,), *(parts[i] if parts else ()))})
        for i, film in enumerate(films)
    ]
    return Index(("x",), tuple(clips))


FRAMES = {"visual": SETTINGS["visual"]}
PATIENT, HASTY = Limits(max_quarantined=1), Limits(clip_timeout_s=1, max_quarantined=1)


@pytest.fixture
def slow(tmp_path):
    """Return a video of 150 frames of 81 million pixels, which takes many seconds to decode."""
    jpeg = simplejpeg.encode_jpeg(np.zeros((9000, 9000, 1), np.uint8), 1, colorspace="GRAY", colorsubsampling="Gray")
    film = tmp_path / "slow.mjpeg"
    film.write_bytes(jpeg * 150)
    return film


@pytest.mark.slow
def test_a_clip_that_takes_too_long_is_quarantined_and_the_others_are_not(tmp_path, slow):
    good = write(tmp_path / "good.mp4", moving(5, 64, 96))
    index, folder = of([slow, good]), tmp_path / "store"
    report = run(index, folder, settings=FRAMES, limits=HASTY, parallel=processes(1))
    ((id, reason),) = report.quarantined
    assert (report.clips, id, reason.partition(":")[0]) == (1, "slow.mjpeg", "too slow")
    tells(reason, "1 s", "`clip_timeout_s`")
    assert run(index, folder, settings=FRAMES, limits=HASTY).skipped_shards == 1
    slow.unlink()
    assert run(index, folder, settings=FRAMES, limits=PATIENT).skipped_shards == 1  # a file that is gone is not retried
    write(tmp_path / "short.mp4", moving(5, 64, 96)).rename(slow)
    assert run(index, folder, settings=FRAMES, limits=HASTY).clips == 2


def strike(decoding: Path, how: signal.Signals) -> None:
    """Send a signal to the child of this process that has opened a file."""
    while True:
        for process in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
            with suppress(OSError):
                if any(handle.resolve() == decoding for handle in Path(f"/proc/{process}/fd").iterdir()):
                    os.kill(process, how)
                    return
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind", "again"), [(signal.SIGSEGV, "cannot be decoded", False), (signal.SIGKILL, "out of memory", True)]
)
def test_a_decoder_that_dies_costs_one_clip(tmp_path, slow, how, kind, again):
    index, folder = of([slow, write(tmp_path / "good.mp4", moving(5, 64, 96))]), tmp_path / "store"
    enemy = threading.Thread(target=strike, args=(slow, how))
    enemy.start()
    report = run(index, folder, settings=FRAMES, limits=PATIENT)
    enemy.join()
    ((id, reason),) = report.quarantined
    assert (report.clips, id, reason.partition(":")[0]) == (1, "slow.mjpeg", kind)
    if not again:
        tells(reason, how.name)
    assert read_shard(folder / "shard-00000.json").is_to_try_again == again


def test_a_clip_that_needs_more_memory_than_there_is_is_quarantined(tmp_path):
    """Each decoder may use as much memory as it has, plus some for small videos."""
    huge = jpegs(tmp_path / "huge", [np.zeros((9900, 9900), np.uint8)])
    index = of([write(tmp_path / "a.mp4", moving(5, 64, 96)), huge, write(tmp_path / "b.mp4", moving(5, 64, 96))])
    index = replace(index, clips=tuple(as_images(clip) if clip.id == "huge" else clip for clip in index.clips))
    script, described = tmp_path / "run.py", tmp_path / "index.pickle"
    described.write_bytes(pickle.dumps((index, FRAMES, PATIENT, tmp_path / "store")))
    script.write_text(
        "import pickle, resource, sys\n"
        "from datasets.store.prepare import prepare\n"
        "index, settings, limits, folder = pickle.load(open(sys.argv[1], 'rb'))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))\n"
        "print(prepare('films', index, settings, folder, limits=limits, parallel=map).quarantined)\n"
    )
    command = [sys.executable, str(script), str(described)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    tells(done.stdout, "huge", "out of memory")
    assert [entry.id for entry in Store(tmp_path / "store").entries()] == ["a.mp4", "b.mp4"]


def as_images(clip: Clip) -> Clip:
    return replace(clip, sources={"visual": replace(clip.sources["visual"], kind="images")})


def test_a_quarantined_clip_is_tried_again_if_its_files_or_the_limits_changed(tmp_path):
    film, folder = tmp_path / "a.mp4", tmp_path / "store"
    film.write_text("<html>not available</html>")
    good = write(tmp_path / "good.mp4", moving(5, 64, 96))
    pictures = jpegs(tmp_path / "pictures", [np.zeros((40, 40), np.uint8)])
    (pictures / "frame000001.jpg").write_bytes(b"")
    index = of([film, good, pictures])
    index = replace(index, clips=(*index.clips[:2], as_images(index.clips[2])))
    options = {"settings": FRAMES, "limits": PATIENT, "clips_per_shard": 1}
    assert run(index, folder, **options).clips == 1
    assert run(index, folder, **options).skipped_shards == 3
    jpegs(pictures, [np.zeros((40, 40), np.uint8)])  # the folder's own time does not change
    report = run(index, folder, **options)
    assert (report.clips, report.skipped_shards) == (2, 2)
    write(film, moving(5, 64, 96))
    report = run(index, folder, **{**options, "limits": replace(PATIENT, max_megapixels=0.005)})
    assert (report.clips, report.skipped_shards) == (2, 2)
    assert report.quarantined[0][1].startswith("too large: ")
    report = run(index, folder, **options)
    assert (report.clips, report.skipped_shards) == (3, 2)
    fresh = tmp_path / "fresh"
    run(index, fresh, **options)
    assert content(folder) == content(fresh)


def test_results_that_a_parallel_map_loses_are_noticed(index, tmp_path):
    with pytest.raises(RuntimeError) as error:
        run(index, tmp_path / "store", parallel=lambda function, tasks: map(function, tasks[1:]))
    tells(error.value, "`parallel`", "11 results", "12 tasks")


def test_what_prepares_needs_neither_torch_nor_librosa():
    code = (
        "import datasets.store.shards, datasets.store.optical_flow, sys\n"
        "assert not {'torch', 'librosa', 'cv2', 'av'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
