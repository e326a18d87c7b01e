"""The journal is read back as it was written, however much of the file a crash has left."""

from __future__ import annotations

import logging
import resource
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.run.causes import Cause, Reason
from search.run.event_check import JournalError
from search.run.journal import Journal
from search.run.journal import read as read_only
from search.run.trials import SearchRecord, TrialRecord
from search.run.version import VERSION, VersionError
from tests.support.tells import tells


def epoch(number: int, **metrics: float) -> dict[str, float]:
    return {"epoch": number, "val/accuracy": 0.5, "best": 0.5, "seconds": 1.0} | metrics


def suggested(number: int) -> dict:
    return {
        "event": "suggested",
        "number": number,
        "arm": ("modulated", "baseline")[number % 2],
        "internal": {"fusion": '"sum"', "optimizer.lr": 1},
        "changes": {"fusion": "sum", "optimizer.lr": 0.1},
    }


EVENTS = [
    suggested(0),
    {"event": "started", "number": 0},
    {"event": "reported", "number": 0, "metrics": epoch(0)},
    suggested(1),
    {"event": "started", "number": 1},
    {"event": "ended", "number": 1, "status": "failed", "reason": "ValueError: »é« in\nclip 17"},
    {"event": "reported", "number": 0, "metrics": epoch(1, best=0.75)},
    {"event": "ended", "number": 0, "status": "finished", "reason": ""},
]


def record_of(events: list[dict]) -> SearchRecord:
    record = SearchRecord()
    for event in events:
        record.apply(event)
    return record


def plain(record: SearchRecord) -> list[dict]:
    return [asdict(trial) for trial in record]


def write(path: Path, events: list[dict]) -> None:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    journal.close()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Bytes of a complete journal."""
    path = tmp_path_factory.mktemp("journal") / "made" / "journal.jsonl"
    write(path, EVENTS)
    return path.read_bytes()


def read(path: Path) -> list[dict]:
    journal = Journal(path)
    journal.close()
    return plain(journal.replay())


def test_what_happened_is_read_again(tmp_path, raw):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(raw)
    assert read(path) == plain(record_of(EVENTS))
    modulated, baseline = record_of(EVENTS)
    assert (modulated.status, modulated.best, len(modulated.epochs)) == ("finished", 0.75, 2)
    assert (baseline.status, baseline.best, str(baseline.reason)) == ("failed", None, "ValueError: »é« in\nclip 17")
    assert baseline.changes == {"fusion": "sum", "optimizer.lr": 0.1}


def test_an_event_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for count, event in enumerate(EVENTS, start=1):
        journal.append(event)
        assert len(path.read_bytes().splitlines()) == count


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path, raw):
    path = tmp_path / "journal.jsonl"
    more, first = {"event": "started", "number": 0}, EVENTS[:3]
    for cut in range(len(b"".join(raw.splitlines(keepends=True)[:3])) + 1):
        both(path, raw[:cut])
        kept = first[: raw[:cut].count(b"\n")]
        assert read(path) == plain(record_of(kept)), cut
        write(path, [more] if kept else first)
        assert read(path) == plain(record_of([*kept, more] if kept else first)), cut


def both(path: Path, first: bytes, second: bytes | None = None) -> Path:
    """Write the journal's file and its copy, identical unless another content is given."""
    path.write_bytes(first)
    path.with_name("journal.copy.jsonl").write_bytes(first if second is None else second)
    return path


def damaged(raw: bytes, place: int, garbage: bytes) -> bytes:
    lines = raw.splitlines(keepends=True)
    return b"".join([*lines[:place], garbage, b"\n", *lines[place:]])


some_garbage = st.binary().filter(lambda g: b"{" not in g) | st.sampled_from(
    [b"7", b"null", b"[1, 2]", b'"x"', b'{"a": 1', b'{"event": "started", "number": 0}', b'{"event": "x", "crc": 1}']
)


@settings(deadline=None, max_examples=150)
@given(garbage=some_garbage, place=st.integers(0, len(EVENTS)))
def test_what_follows_damage_in_both_files_is_dropped(raw, garbage, place):
    """The corrupt line and all after it are ignored, the journal continues before it, and the lost part is saved."""
    with TemporaryDirectory() as folder:
        path = both(Path(folder) / "journal.jsonl", damaged(raw, place, garbage))
        assert read(path) == plain(record_of(EVENTS[:place]))
        assert path.with_name("journal.jsonl.damaged").read_bytes() == damaged(raw, place, garbage)
        write(path, EVENTS[place:])
        assert read(path) == plain(record_of(EVENTS))


@settings(deadline=None, max_examples=100)
@given(garbage=some_garbage, place=st.integers(0, len(EVENTS)), first=st.booleans(), cut=st.integers(0, 40))
def test_of_two_files_the_sound_one_counts_and_the_other_is_mended(raw, garbage, place, first, cut):
    """The intact file may itself end in an incomplete line."""
    bad, good = damaged(raw, place, garbage), raw[: len(raw) - cut]
    kept = EVENTS[: max(place, good.count(b"\n"))]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        both(path, *((bad, good) if first else (good, bad)))
        assert read(path) == plain(record_of(kept))
        whole = raw[: len(b"".join(raw.splitlines(keepends=True)[: len(kept)]))]
        assert path.read_bytes() == path.with_name("journal.copy.jsonl").read_bytes() == whole


def test_a_number_that_has_changed_on_the_disk_is_damage(tmp_path, raw):
    flipped = raw.replace(b"0.75", b"0.85")
    assert flipped != raw
    path = both(tmp_path / "journal.jsonl", flipped)
    assert read(path) == plain(record_of(EVENTS[:6]))
    assert read(both(path, flipped, raw)) == plain(record_of(EVENTS))


@pytest.mark.parametrize("lost", ["journal.jsonl", "journal.copy.jsonl"])
def test_a_file_that_is_gone_is_made_again(tmp_path, raw, lost):
    path = both(tmp_path / "journal.jsonl", raw)
    (tmp_path / lost).unlink()
    assert read(path) == plain(record_of(EVENTS))
    assert (tmp_path / lost).read_bytes() == raw


def test_damage_is_reported(tmp_path, raw, caplog):
    path = both(tmp_path / "journal.jsonl", raw[:-1])
    whole = raw[:-1].rindex(b"\n") + 1
    read(path)
    [message] = caplog.messages
    tells(message, path, f"byte {whole}")
    assert "journal.copy.jsonl" not in message
    assert not path.with_name("journal.jsonl.damaged").exists()  # an incomplete line is of no use


def test_the_use_of_the_copy_is_reported(tmp_path, raw, caplog):
    path = both(tmp_path / "journal.jsonl", b"x\n" + raw, raw)
    read(path)
    [message] = caplog.messages
    tells(message, path, "byte 0", path.with_name("journal.copy.jsonl"))
    read(path)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(("number", "taken"), [(0, False), (1, False), (2, True), (3, False)])
def test_only_the_epoch_that_is_next_is_taken_in(number, taken):
    record = record_of([suggested(0)])
    for metrics in (epoch(0), epoch(1), epoch(number, best=0.9)):
        record.apply({"event": "reported", "number": 0, "metrics": metrics})
    assert [m["epoch"] for m in record.trials[0].epochs] == [0, 1, *[2] * taken]
    assert record.trials[0].best == (0.9 if taken else 0.5)


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [([0.1, 0.4, 0.4, 0.2], max, 1), ([0.4, 0.1, 0.1], min, 1), ([0.3], max, 0), ([0.0, 0.0], max, 0), ([], max, None)],
)
def test_the_best_epoch_is_the_first_of_equal_ones(values, mode, best):
    epochs = [epoch(i, **{"val/loss": v}, best=mode(values[: i + 1])) for i, v in enumerate(values)]
    trial = TrialRecord(0, "baseline", {}, {}, epochs=epochs)
    found = trial.best_epoch("val/loss")
    assert (found and found["epoch"]) == best


def test_a_record_can_grow_while_it_is_looked_at():
    record = record_of([suggested(0)])
    for _ in record:
        record.apply(suggested(1))
    assert [trial.number for trial in record] == [0, 1]


def test_an_event_that_does_not_fit_on_the_disk_is_not_there_in_part(tmp_path):
    """Files may have 250 bytes, which leaves room for only a part of the third event's line."""
    path = tmp_path / "journal.jsonl"
    journal, refused = Journal(path), []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, before[1]))
    try:
        for number in range(9):
            try:
                journal.append({"event": "ended", "number": number, "status": "failed", "reason": "x" * 10})
            except OSError:
                refused.append(number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.close()
    assert refused == list(range(2, 9)) == list(range(len(path.read_text().splitlines()), 9))
    assert path.read_bytes().endswith(b"\n")
    assert path.with_name("journal.copy.jsonl").read_bytes() == path.read_bytes()


def test_an_event_is_not_written_to_a_journal_that_was_deleted(tmp_path):
    """What is written to its open file would be lost."""
    path = tmp_path / "tune" / "journal.jsonl"
    journal = Journal(path)
    journal.append(suggested(0))
    shutil.rmtree(path.parent)
    with pytest.raises(FileNotFoundError):
        journal.append(suggested(1))
    assert not path.exists()


# ---- events that cannot have happened ----

GAP = {"event": "reported", "number": 0, "metrics": epoch(5)}
ON = [{"event": "started", "number": 0}, *({"event": "reported", "number": 0, "metrics": epoch(n)} for n in (1, 2))]


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        ({"event": "finished", "number": 0}, ["'finished'", "unknown"]),
        ({"number": 0}, ["None", "unknown"]),
        ({"event": ["started"], "number": 0}, ["unknown"]),
        ({"event": "started", "number": 7}, ["trial 7", "never suggested"]),
        ({"event": "started"}, ["trial None", "never suggested"]),
        ({"event": "ended", "number": [0], "status": "finished", "reason": ""}, ["trial [0]", "never suggested"]),
        (suggested(0) | {"arm": "baseline"}, ["trial 0", "a second time"]),
        (suggested(2) | {"arm": "other"}, ["trial 2", "baseline or modulated", "'other'"]),
        (suggested(2) | {"number": -1}, ["-1"]),
        ({"event": "suggested", "number": 2, "arm": "baseline"}, ["incomplete", "internal"]),
        ({"event": "ended", "number": 0}, ["incomplete", "reason"]),
        ({"event": "learned", "trials": [{"number": 1}]}, ["incomplete"]),
    ],
)
def test_a_file_that_no_search_can_have_written_is_refused_by_line(tmp_path, event, facts):
    path = tmp_path / "journal.jsonl"
    write(path, [*EVENTS[:3], event, *EVENTS[3:]])
    before = path.read_bytes()
    for open_it in (Journal, read_only):
        with pytest.raises(JournalError) as found:
            open_it(path)
        tells(found.value, f"{path}, line 4:", *facts, "delete this line", path, tmp_path / "journal.copy.jsonl")
    assert path.read_bytes() == before


def test_an_event_of_a_newer_program_is_refused(tmp_path):
    write(tmp_path / "journal.jsonl", [suggested(0) | {"version": VERSION + 1}])
    with pytest.raises(VersionError) as found:
        Journal(tmp_path / "journal.jsonl")
    tells(found.value, tmp_path / "journal.jsonl", "line 1", f"version {VERSION + 1}", VERSION, "newer")


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        (GAP, ["epoch 5", "epoch 1"]),
        ({**GAP, "metrics": epoch(1, best="high")}, ["`best`", "'high'", "number"]),
        ({**GAP, "metrics": epoch(1, best=float("nan"))}, ["`best`", "finite"]),
        ({**GAP, "metrics": epoch(1) | {"val/loss": None}}, ["`val/loss`", "None"]),
        ({**GAP, "metrics": epoch(1) | {"epoch": -1}}, ["epoch -1"]),
        ({**GAP, "metrics": [1]}, ["no metrics"]),
    ],
)
def test_a_trial_with_an_impossible_event_is_trained_again_and_the_others_stand(tmp_path, caplog, event, facts):
    path = tmp_path / "journal.jsonl"
    write(path, [*EVENTS[:3], event, *EVENTS[3:]])
    assert read_only(path).trials[0].status == "running"  # a reader changes nothing
    with caplog.at_level(logging.WARNING):
        journal = Journal(path)
    [told] = caplog.messages
    tells(told, path, "line 4", *facts, "trial 0")
    first, second = journal.replay()
    assert (first.status, len(first.epochs), second.status) == ("waiting", 1, "failed")
    for done in (*ON, EVENTS[-1]):
        journal.append(done)
    journal.close()
    with caplog.at_level(logging.WARNING):
        again = Journal(path)
    assert len(caplog.messages) == 1  # it is not broken any more
    assert (again.replay().trials[0].status, len(again.replay().trials[0].epochs)) == ("finished", 3)
    again.close()


@pytest.mark.parametrize("event", [*ON, EVENTS[-1], {"event": "out_of_memory", "number": 0}, GAP])
def test_after_the_end_of_a_trial_nothing_happens_to_it(tmp_path, caplog, event):
    path = tmp_path / "journal.jsonl"
    write(path, EVENTS)
    before = plain(read_only(path))
    write(path, [event])
    assert plain(read_only(path)) == before
    assert not caplog.messages


def test_what_journals_of_version_2_call_otherwise_means_the_same():
    """They have a sentence instead of a cause, and another name for running out of memory."""
    limit = {"cause": "budget", "limit": 5, "unit": "epoch", "reserved": 0.0}
    ended = {"event": "ended", "number": 0, "status": "stopped", "reason": limit}
    now = record_of([suggested(0), {"event": "out_of_memory", "number": 0}, ended])
    old = record_of([suggested(0), {"event": "crowded", "number": 0}, ended | {"reason": "budget: 5 epochs are spent"}])
    assert plain(old) == plain(now)
    assert (old.trials[0].oom_retries, old.trials[0].is_cut_short) == (1, True)
    assert old.cut_short == now.cut_short == {0: Reason(Cause.BUDGET, {"limit": 5, "unit": "epoch", "reserved": 0})}


def test_a_role_of_before_there_were_versions_has_its_name_of_today():
    old = suggested(0) | {"internal": {"pair": 0, "role": "twin"}}
    new = old | {"version": VERSION}
    assert record_of([old]).trials[0].internal["role"] == "ablation"
    assert record_of([new]).trials[0].internal["role"] == "twin"  # today this could only be a user's own name
