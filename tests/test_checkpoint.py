"""Checkpoints: the same after the round trip, whole or refused, and never run."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogmge.checkpoint import VERSION, CheckpointError, load, save

STATE = {"weights": torch.linspace(0, 1, 500), "history": [{"epoch": 0, "loss": 0.1}], "name": "é", "nothing": None}


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


class Unsaveable:
    def __reduce__(self):
        raise RuntimeError("cannot be saved")


def test_a_failure_while_writing_leaves_the_old_checkpoint_and_no_other_file(tmp_path):
    save({"number": 1}, tmp_path / "last.pt")
    with pytest.raises(RuntimeError, match="cannot be saved"):
        save({"large": torch.zeros(1000), "bad": Unsaveable()}, tmp_path / "last.pt")
    assert load(tmp_path / "last.pt")["number"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_is_told_as_what_it_is(tmp_path, monkeypatch):
    """torch says `unexpected pos 832 vs 726`, and what the disk said only in passing."""
    monkeypatch.setattr(Path, "open", lambda self, mode: open("/dev/full", mode))  # noqa: SIM115
    with pytest.raises(OSError, match=r"No space left on device: .*last\.pt") as told:
        save({"large": torch.zeros(100_000)}, tmp_path / "last.pt")
    assert told.value.errno == errno.ENOSPC


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(written, tmp_path, share):
    raw, path = written.read_bytes(), tmp_path / "cut.pt"
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(CheckpointError, match=r"cut\.pt cannot be read"):
        load(path)


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
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        load(path)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [lambda x, path: path.write_bytes(pickle.dumps(x)), torch.save])
def test_a_pickle_that_is_not_ours_is_refused_without_running_it(tmp_path, write):
    write({"version": VERSION, "x": Harmful(tmp_path / "harm")}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"bad\.pt cannot be read"):
        load(tmp_path / "bad.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": VERSION + 1}, f"has version {VERSION + 1} of the format, but this program reads {VERSION}"),
        ({"weights": torch.zeros(1)}, "is no checkpoint of this project"),
        ([1, 2], "is no checkpoint of this project"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"x\.pt {message}"):
        load(tmp_path / "x.pt")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt cannot be read"):
        load(tmp_path / "none.pt")
