"""Sentences of the report: the verdict, the next step, and an overview of the search."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from datasets.index.list_files import count
from search.console.summary import (
    CONFIGURATION,
    SOURCE,
    bests_head,
    bests_rows,
    count_epochs,
    ends,
    format_effort,
    worth,
)
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import duration, format_difference, label, of_space, percent
from search.experiment.sources import format_sources
from search.experiment.start_command import start_from_here
from search.models.probe_curve import describe_lines
from search.report.facts import ClassChange, Facts
from search.run.best import front_of
from search.run.budget import NOTHING, remaining
from search.verdict.evidence import Evidence
from search.verdict.next_step import (
    Confirmed,
    NextStep,
    after_search,
    after_verdict,
    confirm_command,
    next_training,
    report_command,
    resume_command,
    ui_command,
)
from search.verdict.text import headline as verdict_headline
from search.verdict.text import sentences, test_sentence, verdict_headings, verdict_rows

STOPPING = {"asha": "ASHA"}  # names that are written otherwise than their keys
WAITING = "No verdict yet: the confirmation is not finished"
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headings and rows, each row with its name


def headline(facts: Facts) -> str:
    """Return the verdict, or why there is none, as a heading."""
    if facts.verdict is not None:
        return verdict_headline(facts.verdict)
    if not facts.is_complete:
        going = "the search is still running" if facts.busy else "the search was interrupted"
        return f"No verdict yet: {going}"
    return _state_of_confirmation(facts)


def _state_of_confirmation(facts: Facts) -> str:
    if _is_confirming(facts):
        return WAITING
    if facts.confirmation.trials:
        return "No verdict: no pair of the confirmation has a result"
    if not facts.best:
        return "No verdict: no trial finished"
    if missing := [arm for arm in ARMS if arm not in facts.best]:
        return f"No verdict: no {missing[0]} trial has a result"
    return "No verdict yet: the search has not been confirmed"


def _is_confirming(facts: Facts) -> bool:
    """Return whether a confirmation has begun that may still give a verdict."""
    trainings = facts.confirmation
    unfinished = trainings.over_count < len(trainings.trials)
    return facts.busy or unfinished or any(pair.is_whole for pair in facts.pairs)


def next_step(facts: Facts) -> NextStep:
    """Return the next step."""
    experiment = facts.experiment
    if facts.busy:
        text = "The run is still in progress. Write a new report on it at any time:"
        return NextStep(text, report_command(facts.folder))
    if not facts.is_complete:
        command = resume_command(facts.folder)
        return NextStep("Resume the search:" if command else "Resume the search in the folder of its start.", command)
    if facts.evidence is not None:
        failures = [trial for trial in facts.confirmation if trial.status == "failed"]
        planned = max(facts.planned_pairs, facts.evidence.verdict.paired.n)
        spent = facts.record.spent + facts.confirmation.spent
        return after_verdict(
            Confirmed(experiment, facts.folder, facts.evidence, planned, spent, failures, bool(facts.readings))
        )
    if _is_confirming(facts):
        return NextStep("Continue the confirmation:", confirm_command(facts.folder))
    if facts.confirmation.trials:
        return NextStep("Its trainings failed. See why in MLflow:", ui_command(facts.folder))
    return after_search(facts.folder, facts.best)


def paragraphs(facts: Facts) -> list[str]:
    """Return the paragraphs below the headline: what it rests on."""
    state = [] if facts.damage is None else [facts.damage]
    if not facts.is_complete:
        over = f"{facts.record.over_count} of {count(facts.total, 'trial')} have ended"
        state.append(f"{over}. This page shows the state at {facts.made:%H:%M} UTC.")
    return [*state, *([_lead(facts)] if facts.evidence is None else _meaning(facts, facts.evidence))]


def _meaning(facts: Facts, evidence: Evidence) -> Iterator[str]:
    if facts.busy or not facts.is_complete:
        yield "The run has continued since then; this verdict covers its earlier best configurations and pairs."
    said = sentences(facts.metric, evidence.verdict)
    if rest := " ".join(said[said[0] == f"{headline(facts)}." :]):  # the heading has said the first sentence
        yield rest
    if evidence.test:
        yield test_sentence(evidence.test)


def _lead(facts: Facts) -> str:
    """Return the result of the search alone."""
    missing = [arm for arm in ARMS if arm not in facts.best]
    if not facts.is_complete and missing:
        return f"No {' and no '.join(missing)} trial has a result yet."
    return worth(facts.experiment, facts.best, facts.interval)


def verdict_table(facts: Facts) -> Table | None:
    """Return the verdict's table; None if there is no verdict."""
    if (evidence := facts.evidence) is None:
        return None
    rows = verdict_rows(facts.metric, evidence.verdict, evidence.ablation_of)
    best = [label(evidence.arms[arm].changes, "\n") for arm in reversed(ARMS)]
    return ("", *verdict_headings(facts.metric)), [*rows, (CONFIGURATION, *best, "")]


def best_table(facts: Facts) -> Table | None:
    """Return the table of the best trials; None if there are none."""
    if not facts.best:
        return None
    return ("", *bests_head(facts.best)), bests_rows(facts.experiment, facts.record, facts.best, "\n")


def class_table(facts: Facts) -> Table:
    """Return the accuracies of all classes."""
    head = "class", "modulated", "baseline", "difference in points", "interval"
    return head, list(map(_class_row, facts.classes))


def _class_row(change: ClassChange) -> tuple[str, ...]:
    ends = [_points(end) for end in (change.low, change.high) if end is not None]
    shares = percent(change.modulated), percent(change.baseline)
    return change.name, *shares, _points(change.difference), " to ".join(ends)


def _points(difference: float) -> str:
    return format_difference("accuracy", difference, unit=False)


def probe_note(facts: Facts) -> str:
    """Return a description of the plots of linear probes."""
    if (curves := facts.probe_curves) is None:
        return ""
    return (
        "Accuracy of a linear classifier on the features of each frozen encoder, on the validation split: in the best "
        "modulated model, in the best baseline model, and in an encoder trained alone with the baseline's settings. "
        f"{describe_lines(curves)} A line below that of the encoder trained alone shows what joint training cost. The "
        "modulation window is shaded."
    ) + " The search has continued since then and found other best configurations." * facts.is_probe_outdated


def fronts(facts: Facts) -> str:
    """Return the Pareto fronts of several metrics in a sentence."""
    objectives = facts.experiment.search.objectives
    if len(objectives) < 2:
        return ""
    fronts = "; ".join(f"{arm} {_front(facts, arm)}" for arm in reversed(ARMS))
    metrics = " and ".join(objective.metric for objective in objectives)
    return f"Pareto fronts of {metrics}, by trial: {fronts}."


def _front(facts: Facts, arm: Arm) -> str:
    trials = front_of(facts.record, arm, facts.experiment.search.objectives)
    return ", ".join(str(trial.number) for trial in trials) or "none"


def overview(facts: Facts) -> list[tuple[str, str]]:
    """Return the facts of the search and what it spent, by name."""
    search, record = facts.experiment.search, facts.record
    running = record.count("running") if facts.busy else 0
    limited = ", ".join(f"{limit:g} {unit}" for limit, unit in remaining(search.budget, NOTHING))
    rows = [
        (
            "trials",
            f"{len(record.trials)} of {facts.total} started: {ends(record)}" + f", {running} running" * bool(running),
        ),
        (SOURCE, _sources(facts)),
        ("epochs", format_effort(count_epochs(facts.experiment, record), record.spent)),
        ("time", duration(record.spent.wall_seconds)),
        ("budget", f"{limited or 'none'}" + (f": {facts.stop_reason}" if facts.stop_reason else "")),
        ("sampler", f"{search.sampler}, seed {search.seed}"),
        ("early stopping", STOPPING.get(search.scheduler.name, search.scheduler.name)),
        ("data", f"{facts.experiment.dataset['name']}, fingerprint {facts.fingerprint}"),
    ]
    return [row for row in rows if row[1]]


def _sources(facts: Facts) -> str:
    """Return the sources of the trials' settings, by arm; empty if they are not recorded."""
    counts = {arm: Counter(trial.source for trial in facts.record if trial.arm == arm) for arm in reversed(ARMS)}
    return "; ".join(f"{arm}: {text}" for arm, those in counts.items() if (text := format_sources(those)))


def space_by_path(facts: Facts) -> dict[str, str]:
    """Return the search space, by dotted path."""
    return {path: of_space(entry) for path, entry in facts.experiment.space.items()}


def commands(facts: Facts) -> list[tuple[str, str]]:
    """Return other commands to run now: purpose and command."""
    again = ["uv", "run", "run_search.py", str(facts.folder.experiment), f"name={facts.experiment.name}-again"]
    every = [
        (facts.folder.best.exists(), "train the best configuration", next_training(facts.folder.best)),
        (True, "see every metric of every epoch", ui_command(facts.folder)),
        (True, "repeat the search", start_from_here(shlex.join(again))),
    ]
    given = next_step(facts).command
    return [(what, command) for possible, what, command in every if possible and command != given]


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Return everything that the numbers depend on, by name."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    readings = "; ".join(f"{line['time']}, {line['reason']}" for line in facts.readings)
    return [
        ("run", str(facts.folder.path)),
        ("data", facts.fingerprint),
        ("seeds", _seeds(facts)),
        ("versions", versions or "not recorded yet"),
        ("report written", f"{facts.made:%Y-%m-%d %H:%M:%S} UTC"),
        ("test split read", readings or "never by this run"),
    ]


def _seeds(facts: Facts) -> str:
    confirmation = ", ".join(str(pair.seed) for pair in facts.pairs)
    of_search = f"training {facts.experiment.trial.seed}, sampler {facts.experiment.search.seed}"
    return f"{of_search}; confirmation {confirmation}" if confirmation else of_search
