"""Screens of running and finished searches, reports and probes, from made-up results."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from ogmge.config import Modulation
from ogmge.fit import Objective
from search.backend.ddp import Job
from search.commands.train import History
from search.console.probe_curve_table import curve_headline, curve_table
from search.console.probe_table import table
from search.console.progress import Progress, of_search
from search.console.summary import print_files, print_summary
from search.console.verdict_table import of_confirmation
from search.models.linear_probe import ALONE, Accuracy, Encoder, Report, Row, notes
from search.models.probe_curve import Line, ProbeCurves
from search.report import sentences as words
from search.report.facts import gather
from search.run.best import Interval, bests
from search.run.budget import Spent
from search.run.causes import Cause, Reason, failure
from search.run.folder import RunFolder
from search.run.journal import Journal
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy
from search.verdict.next_step import after_search
from search.verdict.probe_policy import ProbedRole
from tests.wording.catalogue import Chapter, Entry, commanded, drawn, new_folder, on_screen
from tests.wording.laid_out import FINISHED, NOTHING, SEARCH, Trials, confirmed, experiment, metrics, searched
from tests.wording.verdicts import BEST

# ---- a running search ----

RUNNING: Trials = [*FINISHED[:3], ("baseline", (1, 0), [0.4, 0.45], "running", "")]
STOPPED: Trials = [
    ("modulated", (0, 1), [0.5, 0.7, 0.8], "finished", ""),
    ("baseline", (0, 1), [0.5, 0.6, 0.75], "finished", ""),
    ("modulated", (1, 0), [0.4], "stopped", "asha: 2nd of 2 trials with an open window after 1 epochs, 1 may go on"),
    ("baseline", (1, 0), [0.4, 0.5], "stopped", "budget: 9 epochs are spent"),
]
ASHA = Reason(Cause.ASHA, {"place": 2, "of": 2, "epochs": 1, "promoted": 1, "peers": "closed"})
BUDGET = "search.budget={hours: 2, epochs: 50}"


def session_of(trials: Trials, *assignments: str) -> Tuner:
    asked, run = experiment(SEARCH, *assignments), searched(trials, *assignments)
    return Tuner(asked, Journal(run.journal), SearchPolicy(asked))


def live(trials: Trials, *assignments: str, is_stopping: bool = False) -> str:
    """Return the live table 95 seconds after the start, or after Ctrl-C."""
    tuner = session_of(trials, *assignments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.console.progress.time.monotonic", lambda: 0.0)
        progress = Progress(tuner, of_search(tuner), Console(file=io.StringIO()), 2)
        patch.setattr("search.console.progress.time.monotonic", lambda: 95.0)
        if is_stopping:
            patch.setattr("search.console.progress.write_stopping", lambda: None)
            progress.announce_stop()
        return on_screen(lambda console: console.print(progress.table()))


def logged() -> str:
    """Return the lines of a log, without a live table."""
    tuner = session_of(FINISHED[:2])
    return on_screen(partial(_log, tuner))


def _log(tuner: Tuner, console: Console) -> None:
    with Progress(tuner, of_search(tuner), console, 2) as progress:
        tuner.callbacks.append(progress)
        for accuracy, status, reason in ((0.6, "stopped", ASHA), (0.0, "failed", failure("RuntimeError: CUDA error"))):
            trial = tuner.next()
            assert trial is not None
            trial.changes |= {"fusion": "sum", "optimizer.lr": 0.001}
            tuner.record_start(trial.number)
            if accuracy:
                tuner.record_epoch(trial.number, metrics([accuracy]))
            tuner.record_end(trial.number, status, reason)


def confirming(*, is_logged: bool = False) -> str:
    """Return the live table of a confirmation whose first pair has ended, or the lines of a log."""
    asked = experiment(SEARCH)
    policy = ConfirmPolicy(asked, BEST, [16251377, 7], Spent())
    tuner = Tuner(asked, Journal(Path("journal.jsonl")), policy)

    def draw(console: Console) -> None:
        with Progress(tuner, of_confirmation(tuner), console, 2) as progress:
            if is_logged:
                tuner.callbacks.append(progress)
            for accuracy in (0.805, 0.794):
                tuner.record_epoch(_start(tuner), metrics([accuracy]))
                tuner.record_end(tuner.record.over_count, "finished")
            tuner.record_epoch(_start(tuner), metrics([0.5]))
            if not is_logged:
                console.print(progress.table())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.console.progress.time.monotonic", lambda: 0.0)
        return on_screen(draw)


def _start(tuner: Tuner) -> int:
    """Start the next trial and return its number."""
    trial = tuner.next()
    assert trial is not None
    tuner.record_start(trial.number)
    return trial.number


LIVE: list[tuple[str, str, Callable[[], str]]] = [
    ("A search starts", "No trial has started.", partial(live, [])),
    ("A search is running", "Three trials have ended, and one is running.", partial(live, RUNNING)),
    (
        "A search with a budget is running",
        "Three trials have ended, and one is running.",
        partial(live, RUNNING, BUDGET),
    ),
    ("A running search is told to stop", "The user presses Ctrl-C.", partial(live, RUNNING, is_stopping=True)),
    ("A search is running without a terminal", "One trial is stopped early, and one fails.", logged),
    ("A confirmation is running", "The first pair has ended.", confirming),
    ("A confirmation is running without a terminal", "The first pair has ended.", partial(confirming, is_logged=True)),
]

# ---- a finished search ----

INTERVAL = Interval(0.05, 0.012, 0.088, 397)


def summary(trials: Trials, interval: Interval | None, *assignments: str, verdict: bool = False) -> str:
    """Return the output at the end of a search."""
    tuner = session_of(trials, *assignments)
    best = bests(tuner.record, tuner.experiment.search.objective)
    if verdict:
        confirmed()

    def draw(console: Console) -> None:
        folder = RunFolder(Path("runs/demo"))
        step = after_search(folder, best)
        print_summary(console, tuner, best, interval, 173.0, step)
        print_files(console, folder, tuner.experiment, step, [] if best else [folder.best])

    return on_screen(draw)


WHOLE: Trials = [*FINISHED[:2], ("modulated", (1, 0), [0.4, 0.5, 0.6], "finished", ""), FINISHED[3]]
TWO = ("search.metric=[val/accuracy,val/loss]", "search.mode=[max,min]")
DONE: list[tuple[str, str, Callable[[], str]]] = [
    ("A search has finished", "Three of four trials have a result.", partial(summary, FINISHED, INTERVAL)),
    (
        "A search has finished without a failure",
        "All trials trained to their last epoch.",
        partial(summary, WHOLE, None),
    ),
    (
        "A search with two metrics has finished",
        "Three of four trials have a result.",
        partial(summary, FINISHED, None, *TWO),
    ),
    (
        "A search has spent its budget",
        "The budget is 9 epochs. The file asks for 8 trials.",
        partial(summary, STOPPED, None, "search.budget.epochs=9", "search.trials=8"),
    ),
    (
        "A search has finished, and one arm has no result",
        "Both baseline trials failed.",
        partial(summary, [FINISHED[0], NOTHING[1]], None),
    ),
    ("A search has finished without a result", "All trials failed.", partial(summary, NOTHING, None)),
    ("A confirmed search has finished", "There is a verdict.", partial(summary, FINISHED, None, verdict=True)),
]

# ---- the report ----


def reported(trials: Trials, *, busy: bool = False, gain: float | None = None) -> str:
    """Return the text at the top of the page and the next commands."""
    run = searched(trials)
    if gain is not None:
        confirmed(gain)
    facts = replace(gather(run.path, busy=busy), made=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    commands = [f"{what}: {command}" for what, command in words.commands(facts)]
    spent = [f"{name}: {text}" for name, text in words.overview(facts)]
    step = words.next_step(facts)
    first = [words.headline(facts), "\n".join(filter(None, [step.text, step.command]))]
    return "\n\n".join([*first, *words.paragraphs(facts), "\n".join(spent), "\n".join(commands)])


REPORTED: list[tuple[str, str, Callable[[], str]]] = [
    ("The report on a running search", "One of four trials is running.", partial(reported, RUNNING, busy=True)),
    ("The report on a stopped search", "One of four trials has not ended.", partial(reported, RUNNING)),
    ("The report on an unconfirmed search", "All trials have ended.", partial(reported, FINISHED)),
    (
        "The report on a search in which modulation helps",
        "The search is confirmed.",
        partial(reported, FINISHED, gain=0.02),
    ),
    (
        "The report on a search in which modulation hurts",
        "The search is confirmed.",
        partial(reported, FINISHED, gain=-0.03),
    ),
    (
        "The report on a search without a difference",
        "The search is confirmed.",
        partial(reported, FINISHED, gain=-0.0024),
    ),
    ("The report on a search without results", "All trials failed.", partial(reported, NOTHING)),
]

# ---- probes ----


def probed() -> str:
    """Return the table of probes of two models and of encoders trained alone."""

    def encoder(probe: float, head: float, *, converged: bool = True) -> Encoder:
        return Encoder(Path("best.pt"), Accuracy(probe, probe, probe), Accuracy(head, head, head), 1e-4, converged)

    both = {"audio": encoder(0.66, 0.62), "visual": encoder(0.51, 0.48)}
    plain = {"audio": encoder(0.68, 0.66), "visual": encoder(0.34, 0.31, converged=False)}
    single = {"audio": encoder(0.7, 0.7), "visual": encoder(0.6, 0.6)}
    rows = [
        Row("modulated", Modulation(), Accuracy(0.88, 0.85, 0.9), both),
        Row("plain", Modulation("none"), Accuracy(0.86, 0.83, 0.88), plain),
        Row(ALONE, Modulation("none"), None, single),
    ]
    report = Report("validation", 800, 2000, 10, 0.12, rows, None)

    def draw(console: Console) -> None:
        console.print(table(report))
        for note in notes(report):
            console.print(f"note: {note}")

    return on_screen(draw)


def probed_over_epochs() -> str:
    """Return the output of probe curves."""

    def line(role: ProbedRole, modality: str | None, *values: float) -> Line:
        return Line(role, modality, (2, 4), (7, 8, 9)[: len(values)], tuple((0.3, value) for value in values))

    lines = (
        line("modulated", "audio", 0.66, 0.67, 0.665),
        line("baseline", "audio", 0.68, 0.69, 0.67),
        line("alone", "audio", 0.7, 0.71),
        line("modulated", "visual", 0.55, 0.52, 0.58),
        line("baseline", "visual", 0.4, 0.45, 0.36),
        line("alone", "visual", 0.6, 0.61, 0.6),
        line("modulated", None, 0.84, 0.83, 0.85),
        line("baseline", None, 0.82, 0.8, 0.82),
    )
    curves = ProbeCurves("demo", 2, True, (7, 8, 9), (0, 2), {}, lines)

    def draw(console: Console) -> None:
        console.print(f"{curve_headline(curves, 71.0)}\n", highlight=False, soft_wrap=True)
        console.print(curve_table(curves))

    return on_screen(draw)


# ---- a training ----


def training(names: Sequence[str]) -> str:
    """Return the rows of the epochs of a training."""
    epochs = [
        {
            **{"epoch": epoch, "train/loss": 2.4 / (epoch + 1), "val/accuracy": 0.29 + 0.1 * epoch},
            **{f"{split}/accuracy/{name}": 0.18 + 0.1 * epoch for name in names for split in ("train", "val")},
            **{f"coefficient/{name}": 0.97 - 0.1 * epoch for name in names},
            "seconds": 4.1,
        }
        for epoch in range(3)
    ]
    job = Job(experiment(SEARCH).trial, {}, Objective(), None, False, None, Path(), None)

    def draw(console: Console) -> None:
        history = History("val/accuracy", job, console, lambda _: None)
        for values in epochs:
            history.add(values)

    return on_screen(draw)


TRAINED: list[tuple[str, str, Callable[[], str]]] = [
    ("A training on two modalities", "", partial(training, ["audio", "visual"])),
    ("A training on three modalities", "", partial(training, ["audio", "visual", "flow"])),
]


def entries() -> Iterator[Entry]:
    probes = ("Probes of two models and of encoders trained alone", "One fit did not converge.", probed)
    traced = (
        "Probes over the epochs",
        "The training on audio alone failed with one of three seeds.",
        probed_over_epochs,
    )
    for title, given, draw in [*LIVE, *DONE, *REPORTED, probes, traced, *TRAINED]:
        with new_folder():
            text = draw()
        yield drawn(title, given, text)
    yield commanded("The report on a run is written", "python -m search report demo", searched)


CHAPTER = Chapter("screens", "Screens", entries)
