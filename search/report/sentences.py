"""The report's sentences: the verdict first, then what was done for it, and how to go on."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from search.console.summary import SOURCE, bests_head, bests_rows, count_epochs, ends, format_effort, worth
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import configuration, duration, of_space, percent
from search.experiment.sources import format_sources
from search.models.probe_curve import describe_lines
from search.report.facts import ClassChange, Facts
from search.run.best import front_of
from search.run.budget import NOTHING, remaining
from search.verdict.evidence import Evidence
from search.verdict.text import HEADINGS, HEADLINES, TITLES, sentences, test_sentence, verdict_rows

WAITING = "No verdict yet: the confirmation is not done"
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # head and rows, each row with its name


def headline(facts: Facts) -> str:
    """The answer, as short as it can be said truly."""
    if facts.verdict is not None:
        word = facts.verdict.word
        return HEADLINES.get(facts.verdict.claim, f"{word[0].upper()}{word[1:]}")
    if not facts.is_complete:
        going = "the search is still running" if facts.busy else "the search was stopped before it was done"
        return f"No verdict yet: {going}"
    return _state_of_confirmation(facts)


def _state_of_confirmation(facts: Facts) -> str:
    trainings = facts.confirmation
    if facts.busy or trainings.over_count < len(trainings.trials):
        return WAITING
    if not trainings.trials:
        return "No verdict: the search's best were not confirmed"
    whole = any(pair.is_whole for pair in facts.pairs)
    return WAITING if whole else "No verdict: no pair of the confirmation came to a result"


def paragraphs(facts: Facts) -> list[str]:
    """What the headline rests on."""
    state = [] if facts.damage is None else [facts.damage]
    if not facts.is_complete:
        over = f"{facts.record.over_count} of {facts.total} trials have ended"
        state.append(f"{over}; what stands here is of {facts.made:%H:%M} UTC.")
    return [*state, *([_lead(facts)] if facts.evidence is None else _meaning(facts, facts.evidence))]


def _meaning(facts: Facts, evidence: Evidence) -> Iterator[str]:
    if facts.busy or not facts.is_complete:
        yield "It goes on; this verdict is of the best, and of the pairs, of before."
    yield " ".join(sentences(facts.metric, evidence.verdict))
    if evidence.test:
        yield test_sentence(evidence.test)


def _lead(facts: Facts) -> str:
    """What the search alone says."""
    missing = [TITLES[arm] for arm in ARMS if arm not in facts.best]
    if not facts.is_complete and missing:
        return f"No {' and no '.join(missing)} trial has a result yet."
    if not facts.best:
        return "No trial came to a result: the table of trials has the reasons."
    return worth(facts.experiment, facts.best, facts.interval)


def verdict_table(facts: Facts) -> Table | None:
    """The verdict's table; None where there is no verdict."""
    if (evidence := facts.evidence) is None:
        return None
    rows = verdict_rows(facts.metric, evidence.verdict, evidence.ablation_of)
    best = [configuration(evidence.arms[arm].changes) for arm in reversed(ARMS)]
    return ("", *HEADINGS), [*rows, ("configuration", *best, "")]


def best_table(facts: Facts) -> Table | None:
    """The table of the best trials; None where there are none."""
    if not facts.best:
        return None
    return ("", *bests_head(facts.best)), bests_rows(facts.experiment, facts.record, facts.best)


def class_table(facts: Facts) -> Table:
    """What changed class by class, all of them."""
    return ("class", TITLES["modulated"], TITLES["baseline"], "difference", "interval"), list(
        map(_class_row, facts.classes)
    )


def _class_row(change: ClassChange) -> tuple[str, ...]:
    low, high = change.low, change.high
    interval = "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
    shares = percent(change.modulated), percent(change.baseline)
    return change.name, *shares, f"{100 * change.difference:+.1f}", interval


def probe_note(facts: Facts) -> str:
    """What the plots of linear probes show."""
    if (curves := facts.probe_curves) is None:
        return ""
    return (
        "A linear classifier on the features of each frozen encoder, judged on the validation split: in the best "
        "modulated and the best unmodulated model, and trained alone on its modality with the settings of the latter. "
        f"{describe_lines(curves)} Where a line stays below the one trained alone, joint training left that encoder "
        "behind. The window of the modulation is shaded."
    ) + " The search has gone on since, and has other best configurations now." * facts.is_probe_outdated


def fronts(facts: Facts) -> str:
    """Which trials trade off best between several metrics."""
    objectives = facts.experiment.search.objectives
    if len(objectives) < 2:
        return ""
    fronts = "; ".join(f"{title} {_front(facts, arm)}" for arm, title in TITLES.items())
    metrics = " and ".join(objective.metric for objective in objectives)
    return f"Pareto fronts of {metrics}, by trial: {fronts}."


def _front(facts: Facts, arm: Arm) -> str:
    trials = front_of(facts.record, arm, facts.experiment.search.objectives)
    return ", ".join(str(trial.number) for trial in trials) or "none"


def overview(facts: Facts) -> list[tuple[str, str]]:
    """What the search was, and what it took, by name."""
    search, record = facts.experiment.search, facts.record
    running = record.count("running") if facts.busy else 0
    limited = ", ".join(f"{limit:g} {unit}" for limit, unit in remaining(search.budget, NOTHING))
    rows = [
        (
            "trials",
            f"{len(record.trials)} of {facts.total} begun: {ends(record)}" + f", {running} running" * bool(running),
        ),
        (SOURCE, _sources(facts)),
        ("epochs", format_effort(count_epochs(facts.experiment, record), record.spent)),
        ("time", duration(record.spent.wall_seconds)),
        ("budget", f"{limited or 'none'}" + (f": {facts.stop_reason}" if facts.stop_reason else "")),
        ("sampler", f"{search.sampler}, seed {search.seed}"),
        ("early stopping", search.scheduler.name),
        ("data", f"{facts.experiment.dataset['name']}, fingerprint {facts.fingerprint}"),
    ]
    return [row for row in rows if row[1]]


def _sources(facts: Facts) -> str:
    """Where the trials' settings come from, by arm; empty where that is not noted."""
    counts = {arm: Counter(trial.source for trial in facts.record if trial.arm == arm) for arm in reversed(ARMS)}
    return "; ".join(f"{TITLES[arm]}: {text}" for arm, those in counts.items() if (text := format_sources(those)))


def space_by_path(facts: Facts) -> dict[str, str]:
    """The space, by dotted path."""
    return {path: of_space(entry) for path, entry in facts.experiment.space.items()}


def commands(facts: Facts) -> list[tuple[str, str]]:
    """What to do next, and how to do it again: what for, the command."""
    run, best, file = (shlex.quote(str(x)) for x in (facts.experiment.name, facts.folder.best, facts.folder.experiment))
    again = shlex.quote(f"name={facts.experiment.name}-again")
    every = [
        (_can_go_on(facts), "go on with the search", f"uv run run_search.py {file} --resume"),
        (_can_confirm(facts), "confirm it with fresh seeds", f"uv run python -m search confirm {run}"),
        (facts.folder.best.exists(), "train the best", f"uv run python -m search train {best}"),
        (True, "every metric of every epoch", f"uv run python -m search ui {run}"),
        (True, "the same search again", f"uv run run_search.py {file} {again}"),
    ]
    return [(what, command) for possible, what, command in every if possible]


def _can_go_on(facts: Facts) -> bool:
    return not facts.is_complete and not facts.busy


def _can_confirm(facts: Facts) -> bool:
    return facts.is_complete and not facts.busy and facts.verdict is None and len(facts.best) == len(ARMS)


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """What it takes to believe the numbers, by name."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    readings = "; ".join(f"{line['time']}, {line['reason']}" for line in facts.readings)
    return [
        ("run", str(facts.folder.path)),
        ("data", facts.fingerprint),
        ("seeds", _seeds(facts)),
        ("versions", versions or "not written yet"),
        ("read at", f"{facts.made:%Y-%m-%d %H:%M:%S} UTC"),
        ("test split read", readings or "never, by this run"),
    ]


def _seeds(facts: Facts) -> str:
    confirmation = ", ".join(str(pair.seed) for pair in facts.pairs)
    of_search = f"training {facts.experiment.trial.seed}, sampler {facts.experiment.search.seed}"
    return f"{of_search}; confirmation {confirmation}" if confirmation else of_search
