"""The journal: what was written is read again, however much of the file a crash has left."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.record import Journal, SearchRecord, TrialRecord

ROOT = Path(__file__).resolve().parent.parent


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
    """A whole journal as bytes."""
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
    assert (baseline.status, baseline.best, baseline.reason) == ("failed", None, "ValueError: »é« in\nclip 17")
    assert baseline.changes == {"fusion": "sum", "optimizer.lr": 0.1}


def test_an_event_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for count, event in enumerate(EVENTS, start=1):
        journal.append(event)
        assert len(path.read_bytes().splitlines()) == count


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path, raw):
    path = tmp_path / "journal.jsonl"
    more = {"event": "started", "number": 0}
    for cut in range(len(raw) + 1):
        path.write_bytes(raw[:cut])
        kept = EVENTS[: raw[:cut].count(b"\n")]
        assert read(path) == plain(record_of(kept)), cut
        write(path, [more] if kept else EVENTS)
        assert read(path) == plain(record_of([*kept, more] if kept else EVENTS)), cut


@settings(deadline=None, max_examples=150)
@given(
    garbage=st.binary().filter(lambda g: b"{" not in g)
    | st.sampled_from([b"7", b"null", b"[1, 2]", b'"x"', b'{"a": 1']),
    place=st.integers(0, len(EVENTS)),
)
def test_garbage_in_the_middle_ends_what_is_read(raw, garbage, place):
    """Neither it nor what follows counts, and the journal goes on from there."""
    lines = raw.splitlines(keepends=True)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(b"".join([*lines[:place], garbage, b"\n", *lines[place:]]))
        assert read(path) == plain(record_of(EVENTS[:place]))
        write(path, EVENTS[place:])
        assert read(path) == plain(record_of(EVENTS))


def test_damage_is_said(tmp_path, raw, caplog):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(raw[:-1])
    read(path)
    whole = raw[:-1].rindex(b"\n") + 1
    assert f"{path} is damaged after byte {whole}: what follows is dropped" in caplog.text


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
    """In a process of its own, whose files may have 200 bytes."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from search.record import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(9):\n"
        "    try:\n"
        "        journal.append({'event': 'ended', 'number': number, 'status': 'failed', 'reason': 'x' * 10})\n"
        "    except OSError as error:\n"
        "        print(number, error.errno)\n"
    )
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=ROOT)
    refused = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert refused == list(range(len(path.read_text().splitlines()), 9))
    assert refused
    assert path.read_bytes().endswith(b"\n")
