"""Checkpoints: exact round trip, atomic writes, errors for corrupt files, and no code execution."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogmge.checkpoint import VERSION, CheckpointError, load, save
from tests.support.tells import tells

STATE = {"weights": torch.linspace(0, 1, 500), "history": [{"epoch": 0, "loss": 0.1}], "name": "é", "nothing": None}


def refused(path: Path) -> CheckpointError:
    """Return the error of a file that cannot be loaded, after checking that it names the file."""
    with pytest.raises(CheckpointError) as error:
        load(path)
    tells(error.value, path)
    return error.value


def equal(state: dict) -> bool:
    rest = {key: value for key, value in state.items() if key != "weights"}
    return torch.equal(state["weights"], STATE["weights"]) and rest == {
        "version": VERSION,
        **{key: value for key, value in STATE.items() if key != "weights"},
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "made" / "last.pt"
    save(STATE, path)
    return path


def test_what_was_saved_is_loaded(written):
    assert equal(load(written))


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path):
    for number in (1, 2):
        save({"number": number}, tmp_path / "last.pt")
    assert load(tmp_path / "last.pt")["number"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_old_checkpoint_is_not_written_in(tmp_path):
    """A reader finds a complete file at any time, even after the writer was killed."""
    save({"number": 1}, tmp_path / "last.pt")
    os.link(tmp_path / "last.pt", tmp_path / "old.pt")
    save({"number": 2}, tmp_path / "last.pt")
    assert [load(tmp_path / name)["number"] for name in ("old.pt", "last.pt")] == [1, 2]


class Unsaveable:
    def __reduce__(self):
        raise RuntimeError("cannot be saved")


def test_a_failure_while_writing_leaves_the_old_checkpoint_and_no_other_file(tmp_path):
    save({"number": 1}, tmp_path / "last.pt")
    with pytest.raises(RuntimeError, match="cannot be saved"):
        save({"large": torch.zeros(1000), "bad": Unsaveable()}, tmp_path / "last.pt")
    assert load(tmp_path / "last.pt")["number"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_is_reported_as_such(tmp_path, monkeypatch):
    """torch reports `unexpected pos 832 vs 726` and has the disk's error only as the exception's context."""
    monkeypatch.setattr(Path, "open", lambda self, mode: open("/dev/full", mode))  # noqa: SIM115
    with pytest.raises(OSError) as error:  # noqa: PT011, errno identifies it
        save({"large": torch.zeros(100_000)}, tmp_path / "last.pt")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "last.pt"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(written, tmp_path, share):
    raw, path = written.read_bytes(), tmp_path / "cut.pt"
    path.write_bytes(raw[: int(share * len(raw))])
    assert refused(path).__cause__ is not None  # why it cannot be read


def test_a_compressed_file_is_refused_before_it_fills_the_memory(written, tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    assert "compressed" in str(refused(path))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_with_a_flipped_bit_is_refused_or_read_as_it_was(written, tmp_path, place, bit):
    raw, path = bytearray(written.read_bytes()), tmp_path / "flipped.pt"
    raw[int(place * len(raw))] ^= 1 << bit
    path.write_bytes(raw)
    try:
        state = load(path)
    except CheckpointError:
        return
    assert equal(state)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\x80\x02" + rest))
def test_any_other_file_is_refused(tmp_path, raw):
    path = tmp_path / "other.pt"
    path.write_bytes(raw)
    refused(path)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [lambda x, path: path.write_bytes(pickle.dumps(x)), torch.save])
def test_a_pickle_that_is_not_ours_is_refused_without_running_it(tmp_path, write):
    write({"version": VERSION, "x": Harmful(tmp_path / "harm")}, tmp_path / "bad.pt")
    assert refused(tmp_path / "bad.pt").__cause__ is not None
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ({"version": VERSION + 1}, [f"version {VERSION + 1}", VERSION]),
        ({"weights": torch.zeros(1)}, []),
        ([1, 2], []),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, facts):
    torch.save(content, tmp_path / "x.pt")
    error = refused(tmp_path / "x.pt")
    tells(error, *facts)
    assert error.__cause__ is None  # it is readable
    assert ("version" in str(error)) is bool(facts)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert isinstance(refused(tmp_path / "none.pt").__cause__, FileNotFoundError)
