"""What a person sees while a search runs, on a terminal and in a log."""

from __future__ import annotations

import io
import random
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from search.console.probe_curve_table import of_probes
from search.console.progress import Progress, of_search
from search.console.verdict_table import of_confirmation
from search.experiment.arms import ARMS
from search.experiment.formatting import duration
from search.run.causes import Cause, Reason, failure
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.probe_policy import ProbePolicy
from tests.search.tuner.test_tuner import experiment, opened, simulate
from tests.search.verdict.test_confirmation import BEST, confirmation, run_all, world
from tests.support import ROOT
from tests.support.tells import tells
from tests.support.terminals import COLUMNS, frame, run_in_terminal, screen

INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from rich.console import Console
from search.backend.interrupt import Interrupt
from search.console.progress import Progress, of_search
from tests.search.tuner.test_tuner import opened

signal.signal(signal.SIGUSR1, lambda number, frame: None)  # Tune's
tuner, console = opened(Path("journal.jsonl")), Console()
print("before")
with Progress(tuner, of_search(tuner), console, 2) as progress:
    interrupt = Interrupt(progress.announce_stop)
    with interrupt.handle_signals():
        interrupt.listen()
        for _ in range(2):
            tuner.record_start(tuner.next().number)
        time.sleep(0.6)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.6)
        tuner.record_end(0, "finished")
        time.sleep(0.6)
print("after")
"""
PROBES = ProbePolicy(experiment(), BEST, ["audio", "visual"], [7, 8])
ODD = "[red]x[/red] [bold :smile: [/nothing]"


def console(width: int = 200, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, record=True)


def shown(tuner: Tuner, width: int = 200, at_once: int = 2) -> list[str]:
    """The lines of the live table."""
    screen = console(width, terminal=True)
    screen.print(Progress(tuner, of_search(tuner), screen, at_once).table())
    return [line.rstrip() for line in screen.export_text().splitlines()]


def epochs(line: str) -> list[int]:
    """How many a line speaks of."""
    return [int(count) for count in re.findall(r"(\d+) epochs?\b", line)]


def durations(line: str) -> list[str]:
    return re.findall(r"\b(?:\d+ h \d+ min|\d+ min \d+ s|\d+ s)\b", line)


@pytest.fixture
def tuner(tmp_path: Path) -> Tuner:
    return opened(tmp_path / "journal.jsonl", "search.transfer=0")  # the arms alternate


def report(tuner: Tuner, accuracy: float, changes: dict | None = None, **metrics: float) -> None:
    """One epoch of the next trial."""
    trial = tuner.next()
    trial.changes |= changes or {}
    tuner.record_start(trial.number)
    alone = {
        "val/accuracy/audio": 0.75,
        "val/accuracy/visual": 0.5,
        "coefficient/audio": 0.25,
        "coefficient/visual": 1.0,
    }
    values = {
        "epoch": 0,
        "val/accuracy": accuracy,
        "val/loss": 1.5,
        **alone,
        **metrics,
        "best": accuracy,
        "seconds": 1.0,
    }
    tuner.record_epoch(trial.number, values)


def test_before_the_first_trial_it_says_what_it_waits_for(tuner):
    line, waits = shown(tuner)
    tells(line, "simulated", "0 of 14")
    assert (epochs(line), durations(line)) == ([0], ["0 s"])
    assert waits


def test_the_table_shows_what_runs_with_each_modality_and_its_coefficient(tuner):
    report(tuner, 0.625, {"fusion": "sum", "optimizer.lr": 0.01, "modulation.alpha": 0.21754})
    waiting = tuner.next()
    tuner.record_start(waiting.number)
    line, heading, first, second, *_ = shown(tuner)
    tells(line, "simulated", "0 of 14", "2 running")
    assert epochs(line) == [1]
    columns = re.split(r"\s{2,}", heading.strip())[:-1]  # the last one is the settings'
    assert columns == ["trial", "arm", "epoch", "val/accuracy", "audio", "visual", "k audio/visual"]
    numbers = ["1/5", "62.5", "%", "75.0", "%", "50.0", "%", "0.25/1.00"]
    assert first.split()[:12] == ["0", "modulated", *numbers, "fusion=sum", "lr=0.01"]
    assert " alpha=0.218 " in first
    assert second.split()[:4] == ["1", "baseline", "0/5", "-"]


def test_a_trials_own_number_of_epochs_is_what_it_is_out_of(tuner):
    report(tuner, 0.5, {"epochs": 8})
    assert "1/8" in shown(tuner)[2]


def test_the_table_counts_how_trials_ended_and_shows_the_best_of_each_arm(tuner):
    report(tuner, 0.5, {"fusion": "film"})
    tuner.record_end(0, "finished")
    lines = shown(tuner)
    assert lines[0].startswith("simulated  1 of 14 trials ended   ")  # all of them finished
    assert epochs(lines[0]) == [1]
    tells(lines[-1], "modulated", "50.0 %", "trial 0", "fusion=film")
    simulate(tuner)
    lines = shown(tuner)
    ends = {word: sum(t.status == word for t in tuner.record) for word in ("finished", "stopped", "failed")}
    tells(lines[0], "simulated", "14 of 14", *(f"{count} {word}" for word, count in ends.items()))
    assert epochs(lines[0]) == [tuner.record.spent.epochs]
    assert [[arm for arm in ARMS if arm in line.split()] for line in lines[-2:]] == [["baseline"], ["modulated"]]


@pytest.mark.parametrize(
    ("assignments", "heading", "cell"),
    [((), "val/accuracy", "62.5 %"), (("search.metric=val/loss", "search.mode=min"), "val/loss", "1.5000")],
)
def test_the_metric_is_the_experiments(tmp_path, assignments, heading, cell):
    tuner = opened(tmp_path / "journal.jsonl", *assignments)
    report(tuner, 0.625)
    _, headings, row, *_ = shown(tuner)
    assert headings.index(heading) + len(heading) == row.index(cell) + len(cell)  # in one column, to the right


def test_running_trials_are_not_among_those_that_ended(tuner):
    for _ in range(4):
        tuner.record_start(tuner.next().number)
    tuner.record_end(0, "finished")
    tuner.record_end(1, "finished")
    assert shown(tuner)[0].startswith("simulated  2 of 14 trials ended, 2 running   ")
    tuner.record_end(2, "stopped", Reason(Cause.TEXT, {"text": "asha: 2nd of 2"}))
    assert shown(tuner)[0].startswith("simulated  3 of 14 trials ended (2 finished, 1 stopped early), 1 running   ")


def test_the_first_line_fits_a_terminal_whatever_it_counts(tuner):
    tuner.experiment = tuner.experiment.model_copy(update={"name": "a_name_that_fills_much_of_the_line"})
    for _ in range(10):
        tuner.record_start(tuner.next().number)
    tuner.record_end(0, "finished")
    tuner.record_end(1, "failed", failure("ValueError"))
    tuner.record_end(2, "stopped", Reason(Cause.TEXT, {"text": "asha: 2nd of 2"}))
    lines = shown(tuner, width=COLUMNS)
    assert max(map(len, lines)) <= COLUMNS
    tells(" ".join(lines[:2]), "3 of 14 trials ended (1 finished, 1 stopped early, 1 failed), 7 running")


# ---- a confirmation ----


def test_a_confirmation_shows_trainings_by_their_pair_and_the_means_in_the_order_of_a_search(tmp_path):
    policy = confirmation(seeds=2)
    tuner = Tuner(policy.experiment, Journal(tmp_path / "journal.jsonl"), policy)
    trials = [tuner.next() for _ in range(4)]
    for trial, accuracy in zip(trials, (0.805, 0.794), strict=False):
        tuner.record_start(trial.number)
        tuner.record_epoch(trial.number, {"epoch": 0, "val/accuracy": accuracy, "best": accuracy, "seconds": 1.0})
        tuner.record_end(trial.number, "finished")
    tuner.record_start(2)
    screen = console(COLUMNS, terminal=True)
    screen.print(Progress(tuner, of_confirmation(tuner), screen, 2).table())
    head, heading, row, detail, *means = [line.rstrip() for line in screen.export_text().splitlines()]
    tells(head, "simulated, confirmation", "2 of 4 trainings ended, 1 running")
    assert heading.split()[:2] == ["training", "arm"]
    assert row.split()[:2] == ["2", "baseline"]
    assert detail.strip() == f"pair 2, seed {policy.seeds[1]}"
    assert means == ["  mean baseline   80.5 %  (1 training)", "  mean modulated  79.4 %  (1 training)"]


def test_a_log_names_trainings_of_a_confirmation_by_their_pair(tmp_path):
    policy = confirmation(seeds=1)
    tuner = Tuner(policy.experiment, Journal(tmp_path / "journal.jsonl"), policy)
    screen = console()
    with Progress(tuner, of_confirmation(tuner), screen, 1) as progress:
        tuner.callbacks.append(progress)
        run_all(tuner, world(0.1, 0.0, 0.0, 1), random.Random(0), 1)
    seed = policy.seeds[0]
    begins = [line.partition(": ")[0] for line in screen.export_text().splitlines()]
    assert begins == [f"[1/2] baseline, pair 1, seed {seed}", f"[2/2] modulated, pair 1, seed {seed}"]
    trial = TrialRecord(2, "baseline", {"pair": 0, "role": "ablation"}, {"seed": 7})
    assert of_confirmation(tuner).title(trial) == "baseline, pair 1, seed 7, ablation"


def test_trainings_with_probes_are_named_by_what_they_train(tmp_path):
    tuner = Tuner(PROBES.experiment, Journal(tmp_path / "journal.jsonl"), PROBES)
    titles = [of_probes(tuner).title(tuner.next()) for _ in range(3)]
    assert titles == [f"{what}, seed {PROBES.seeds[0]}" for what in ("modulated", "baseline", "audio alone")]


def counts(progress: Progress) -> str:
    """The first line of the live table."""
    screen = console(400)
    screen.print(progress.table())
    return screen.export_text().splitlines()[0]


def test_how_long_it_will_take_is_guessed_from_the_epochs_of_this_session(tmp_path, monkeypatch):
    """At the rate of this session, for trials as long as those that have ended."""
    now = [0.0]
    monkeypatch.setattr("search.console.progress.time.monotonic", lambda: now[0])
    path = tmp_path / "journal.jsonl"
    simulate(opened(path), at_once=1, steps=18)
    tuner = opened(path)
    before = tuner.record.spent.epochs
    progress = Progress(tuner, of_search(tuner), console(), 1)
    assert len(durations(counts(progress))) == 1  # nothing of this session yet
    simulate(tuner, at_once=1, steps=15)
    now[0] = 100.0
    ended = [len(t.epochs) for t in tuner.record if t.is_over]
    running = sum(len(t.epochs) for t in tuner.record if not t.is_over)
    coming = (14 - len(ended)) * sum(ended) / len(ended) - running
    seconds = 100.0 * coming / (tuner.record.spent.epochs - before)
    assert durations(counts(progress)) == [duration(100), duration(seconds)]
    tuner = opened(path)
    progress = Progress(tuner, of_search(tuner), console(), 1)
    simulate(tuner)
    tells(counts(progress), "14 of 14")
    assert len(durations(counts(progress))) == 1


def test_before_four_trials_have_ended_nobody_knows_how_long_it_takes(tuner):
    progress = Progress(tuner, of_search(tuner), console(), 2)
    known = []
    for number in range(5):
        report(tuner, 0.5)
        tuner.record_end(number, "finished")
        known.append(len(durations(counts(progress))) == 2)
    assert known == [False, False, False, True, True]


def test_what_was_spent_and_saved_and_what_is_left_of_the_budget_are_shown(tmp_path):
    words = ("search.budget={epochs: 50, gpu_hours: 2}", "search.resources.gpu=0.5")
    tuner = opened(tmp_path / "journal.jsonl", *words)
    for _ in range(2):
        tuner.record_start(tuner.next().number)
    trained = {"val/accuracy": 0.5, "best": 0.5, "seconds": 1800.0}
    tuner.record_epoch(0, {"epoch": 0, **trained}, 0.5)
    tuner.record_epoch(1, {"epoch": 0, **trained, "inherited": 1.0}, 0.5)
    line = counts(Progress(tuner, of_search(tuner), console(), 2))
    _, trained, hours, _, left = re.split(r" {3,}", line)
    assert [re.findall(r"[\d.]+", part) for part in (trained, hours)] == [["1", "1"], ["0.25", "0.25"]]
    tells(hours, "0.25 GPU-hours")
    tells(left, "1.75 GPU-hours", "49 epochs")


@pytest.mark.parametrize(("at_once", "rows"), [(2, 8), (12, 12)])
def test_no_more_rows_are_shown_than_run_at_the_same_time_or_eight(tuner, at_once, rows):
    for _ in range(14):
        tuner.record_start(tuner.next().number)
    assert len(shown(tuner, at_once=at_once)) == 2 + rows


def test_on_a_narrow_terminal_nothing_is_cut_off(tuner):
    report(tuner, 0.625, {"weights": "/some/where/far/away/on/a/disk/" + "x" * 60})
    lines = shown(tuner, width=80)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert "".join(lines).count("x") >= 60


# ---- Ctrl-C ----


def test_ctrl_c_is_answered_in_the_live_table_which_leaves_nothing_on_the_screen(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    written = run_in_terminal([sys.executable, "-c", INTERRUPTED], tmp_path)
    stopping = [
        line
        for line in frame(written, "1 of 14").splitlines()
        if line.strip() and "stopping" in line and "Ctrl-C" in line
    ]
    assert len(stopping) == 1, written
    assert [line for line in screen(written).splitlines() if line.strip()] == ["before", "after"]


def test_a_log_gets_a_line_for_ctrl_c(tuner, capfd):
    with Progress(tuner, of_search(tuner), console(), 2) as progress:
        progress.announce_stop()
    tells(capfd.readouterr().err, "stopping", "Ctrl-C")


def test_the_ctrl_c_that_a_terminal_echoes_does_not_wrap_the_last_line(tuner):
    """A wrapped line is one that rich does not count, so that the first row of the table would stay."""
    report(tuner, 0.625)
    for what in ("running", "best"):  # whose settings are in the last line
        for letters in range(COLUMNS):
            tuner.record.trials[0].changes["weights"] = "x" * letters
            assert len(shown(tuner, width=COLUMNS)[-1]) <= COLUMNS - len("^C")
        assert what in "".join(shown(tuner, width=COLUMNS))
        if what == "running":
            tuner.record_end(0, "finished")


# ---- as it is written ----


def test_labels_and_names_are_shown_as_they_are_written(tuner):
    """No markup, no emoji: neither in a configuration nor in a modality's name."""
    odd = {f"{what}/{ODD}": 0.125 for what in ("val/accuracy", "coefficient")}
    report(tuner, 0.625, {"weights": ODD}, **odd)
    tuner.record_end(0, "finished")
    trial = tuner.next()
    trial.changes["weights"] = ODD
    tuner.record_start(trial.number)
    _, heading, row, best = shown(tuner, width=400)
    assert heading.count(ODD) == 2  # its accuracy and its coefficient
    assert f"weights={ODD}" in row
    assert f"weights={ODD}" in best


def test_a_log_gets_a_line_for_each_trial_as_it_is_written(tuner):
    screen = console(40)
    with Progress(tuner, of_search(tuner), screen, 2) as progress:
        tuner.callbacks.append(progress)
        report(tuner, 0.625, {"weights": ODD})
        tuner.record_end(0, "stopped", Reason(Cause.TEXT, {"text": "asha: 2nd of 2"}))
        trial = tuner.next()
        tuner.record_start(trial.number)
        tuner.record_end(1, "failed", failure(f"ValueError: {ODD}"))
    first, second = screen.export_text().splitlines()
    tells(first, "[1/14]", "modulated 0", f"weights={ODD}", "stopped", "val/accuracy 62.5 %")
    tells(second, "[2/14]", "baseline 1", "failed", f"ValueError: {ODD}", "val/accuracy -")
    assert (epochs(first), epochs(second)) == ([1], [0])


def test_a_log_hears_of_trials_that_take_long_once_a_minute(tuner, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("search.console.progress.time.monotonic", lambda: now[0])
    screen = console()
    with Progress(tuner, of_search(tuner), screen, 2) as progress:
        tuner.callbacks.append(progress)
        for epoch in range(4):
            if not epoch:
                tuner.record_start(tuner.next().number)
            now[0] += 25.0
            tuner.record_epoch(0, {"epoch": epoch, "val/accuracy": 0.5, "best": 0.5, "seconds": 25.0})
    [line] = screen.export_text().splitlines()
    tells(line, "simulated", "0 of 14", "1 running")
    assert (epochs(line), durations(line)) == ([3], ["1 min 15 s"])


def test_a_terminal_gets_the_live_table_and_no_lines(tuner):
    screen = console(terminal=True)
    with Progress(tuner, of_search(tuner), screen, 2) as progress:
        tuner.callbacks.append(progress)
        simulate(tuner)
    written = screen.file.getvalue()
    assert "modulated" in written
    assert "14/14" not in written
    assert written.endswith("\x1b[2K"), "the table is not taken away at the end"


def test_a_resumed_search_counts_on(tmp_path):
    path = tmp_path / "journal.jsonl"
    simulate(opened(path), steps=30)
    tuner = Tuner(experiment(), Journal(path), SearchPolicy(experiment()))
    ended = sum(t.is_over for t in tuner.record)
    screen = console()
    with Progress(tuner, of_search(tuner), screen, 2) as progress:
        tuner.callbacks.append(progress)
        simulate(tuner)
    counts = [line.split("]")[0] for line in screen.export_text().splitlines() if re.match(r"\[\d+/14\] ", line)]
    assert ended
    assert counts == [f"[{n}/14" for n in range(ended + 1, 15)]
