"""The report's sentences: the verdict first, then what was done for it, and how to go on."""

from __future__ import annotations

import shlex

from search.console.summary import bests_head, bests_rows, effort, ends, worth
from search.experiment.arms import ARMS
from search.experiment.formatting import configuration, duration, of_space, percent
from search.report.facts import Facts
from search.run.best import front_of
from search.run.budget import NOTHING, remaining
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
    if facts.busy or any(not training.is_over for training in facts.confirmation):
        return WAITING
    if facts.confirmation.trials:
        whole = any(pair.is_whole for pair in facts.pairs)
        return WAITING if whole else "No verdict: no pair of the confirmation came to a result"
    return "No verdict: the search's best were not confirmed"


def paragraphs(facts: Facts) -> list[str]:
    """What the headline rests on."""
    said = [] if facts.damage is None else [facts.damage]
    if not facts.is_complete:
        over = f"{facts.record.over_count} of {facts.total} trials have ended"
        said.append(f"{over}; what stands here is of {facts.made:%H:%M} UTC.")
    if facts.evidence is not None:
        if facts.busy or not facts.is_complete:
            said.append("It goes on; this verdict is of the best, and of the pairs, of before.")
        said.append(" ".join(sentences(facts.metric, facts.evidence.verdict)))
        return [*said, test_sentence(facts.evidence.test)] if facts.evidence.test else said
    missing = [TITLES[arm] for arm in ARMS if arm not in facts.best]
    if not missing or (facts.best and facts.is_complete):
        said.append(worth(facts.experiment, facts.best, facts.interval))
    elif not facts.is_complete:
        said.append(f"No {' and no '.join(missing)} trial has a result yet.")
    else:
        said.append("No trial came to a result: the table of trials has the reasons.")
    return said


def verdict_table(facts: Facts) -> Table | None:
    """The verdict's table; None where there is no verdict."""
    if (evidence := facts.evidence) is None:
        return None
    rows = verdict_rows(facts.metric, evidence.verdict, evidence.ablation_of)
    best = [configuration(evidence.arms[arm].changes) for arm in reversed(ARMS)]
    return ("", *HEADINGS), [*rows, ("configuration", *best, "")]


def best(facts: Facts) -> Table | None:
    """The table of the best trials; None where there are none."""
    rows = bests_rows(facts.experiment, facts.record, facts.best)
    return (("", *bests_head(facts.best)), [(name, *cells) for name, cells in rows]) if facts.best else None


def by_class(facts: Facts) -> Table:
    """What changed class by class, all of them."""
    rows = [
        (
            change.name,
            percent(change.modulated),
            percent(change.baseline),
            f"{100 * change.difference:+.1f}",
            "" if change.low is None or change.high is None else f"{100 * change.low:+.1f} to {100 * change.high:+.1f}",
        )
        for change in facts.classes
    ]
    return ("class", TITLES["modulated"], TITLES["baseline"], "difference", "interval"), [*rows]


def fronts(facts: Facts) -> str:
    """Which trials trade off best between several metrics."""
    objectives = facts.experiment.search.objectives
    if len(objectives) < 2:
        return ""
    parts = []
    for arm in reversed(ARMS):
        numbers = ", ".join(str(trial.number) for trial in front_of(facts.record, arm, objectives))
        parts.append(f"{TITLES[arm]} {numbers or 'none'}")
    metrics = " and ".join(objective.metric for objective in objectives)
    return f"Pareto fronts of {metrics}, by trial: {'; '.join(parts)}."


def spent(facts: Facts) -> list[tuple[str, str]]:
    """What the search was, and what it took, by name."""
    search, record = facts.experiment.search, facts.record
    trials = f"{len(record.trials)} of {facts.total} begun: {ends(record)}"
    if facts.busy and (running := record.count("running")):
        trials += f", {running} running"
    limited = ", ".join(f"{limit:g} {unit}" for limit, unit in remaining(search.budget, NOTHING))
    return [
        ("trials", trials),
        ("epochs", effort(facts.experiment, record).partition(" epochs: ")[2]),
        ("time", duration(record.spent.wall_seconds)),
        ("budget", f"{limited or 'none'}" + (f": {facts.stop_reason}" if facts.stop_reason else "")),
        ("sampler", f"{search.sampler}, seed {search.seed}"),
        ("early stopping", search.scheduler.name),
        ("data", f"{facts.experiment.dataset['name']}, fingerprint {facts.fingerprint}"),
    ]


def space_by_path(facts: Facts) -> dict[str, str]:
    """The space, by dotted path."""
    return {path: of_space(entry) for path, entry in facts.experiment.space.items()}


def commands(facts: Facts) -> list[tuple[str, str]]:
    """What to do next, and how to do it again: what for, the command."""
    name = facts.experiment.name
    run, best = shlex.quote(name), shlex.quote(str(facts.folder.best))
    file = shlex.quote(str(facts.folder.experiment))
    found = []
    if not facts.is_complete and not facts.busy:
        found.append(("go on with the search", f"uv run run_search.py {file} --resume"))
    if facts.is_complete and not facts.busy and facts.verdict is None and len(facts.best) == len(ARMS):
        found.append(("confirm it with fresh seeds", f"uv run python -m search confirm {run}"))
    if facts.folder.best.exists():
        found.append(("train the best", f"uv run python -m search train {best}"))
    found.append(("every metric of every epoch", f"uv run python -m search ui {run}"))
    again = shlex.quote(f"name={name}-again")
    found.append(("the same search again", f"uv run run_search.py {file} {again}"))
    return found


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """What it takes to believe the numbers, by name."""
    trial, search = facts.experiment.trial, facts.experiment.search
    seeds = f"training {trial.seed}, sampler {search.seed}"
    if facts.pairs:
        seeds += f"; confirmation {', '.join(str(pair.seed) for pair in facts.pairs)}"
    rows = [
        ("run", str(facts.folder.path)),
        ("data", facts.fingerprint),
        ("seeds", seeds),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or "not written yet"),
        ("read at", f"{facts.made:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    lines = [f"{line['time']}, {line['reason']}" for line in facts.readings]
    return [*rows, ("test split read", "; ".join(lines) or "never, by this run")]
