"""Verdict on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from datasets.index.list_files import count
from search.console.notes import print_line, print_paragraph, print_step
from search.console.progress import View
from search.console.tables import add_row, fits, plain_table, print_settings
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import duration, format_value, label
from search.run.budget import remaining
from search.run.trials import TrialRecord
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy
from search.verdict.decide import Verdict
from search.verdict.evidence import TestScores
from search.verdict.next_step import NextStep
from search.verdict.seeds import SEED, redraws
from search.verdict.text import caption, sentences, test_sentence, verdict_headings, verdict_rows


def of_confirmation(tuner: Tuner) -> View:
    """Return the view of a confirmation, with each arm's mean so far."""
    policy = tuner.policy
    assert isinstance(policy, ConfirmPolicy)
    metric = tuner.experiment.search.objective.metric

    def title(trial: TrialRecord) -> str:
        return f"{trial.arm}, {pair_of(trial)}"

    def means() -> list[str]:
        lines = []
        for arm in ARMS:
            done = [trial.best for trial in _finished_trials(tuner, arm) if trial.best is not None]
            if done:
                value = format_value(metric, sum(done) / len(done))
                lines.append(f"mean {arm:<9}  {value}  ({count(len(done), 'training')})")
        return lines

    def unspent() -> list[tuple[float, str]]:
        return remaining(policy.experiment.search.budget, policy.spent + tuner.record.spent) if policy.limited else []

    return View(f"{tuner.experiment.name}, confirmation", "training", pair_of, title, means, unspent, "pair")


def pair_of(trial: TrialRecord) -> str:
    """Return the pair of a training, counted from 1, its seed, and whether it is an ablation."""
    ablation = ", ablation" if trial.internal["role"] == "ablation" else ""
    return f"pair {trial.internal['pair'] + 1}, seed {trial.changes[SEED]}{ablation}"


def _finished_trials(tuner: Tuner, arm: Arm) -> list[TrialRecord]:
    return [t for t in tuner.record if t.internal["role"] == arm and t.status == "finished"]


def verdict_table(policy: ConfirmPolicy, found: Verdict, *, configurations: bool = True, folded: bool = False) -> Table:
    """Return the verdict's numbers as a table.

    Args:
        policy: policy of the confirmation.
        found: verdict of the confirmation.
        configurations: whether to add a row with the two configurations.
        folded: whether to put intervals on lines of their own.
    """
    metric = policy.experiment.search.objective.metric
    headings, rows = verdict_headings(metric), verdict_rows(metric, found, policy.pairs.ablation_of)
    table = plain_table(["", *(_folded(heading) if folded else heading for heading in headings)])
    for *cells, difference in rows:
        add_row(table, [*cells, _folded(difference) if folded else difference])
    if configurations:
        add_row(table, ["configuration", *(_settings(policy, arm) for arm in reversed(ARMS)), ""])
    return table


def _folded(text: str) -> str:
    """Return a text with the part in parentheses on a line of its own."""
    return text.replace(" (", "\n(")


def _settings(policy: ConfirmPolicy, arm: Arm) -> str:
    """Return the settings of an arm's best configuration, one per line."""
    return label({path: value for path, value in policy.best[arm].items() if path != SEED}, "\n")


def _print_table(console: Console, policy: ConfirmPolicy, found: Verdict) -> None:
    """Print the numbers and the two configurations, which are below the table if they are too wide for it."""
    table = verdict_table(policy, found)
    if fits(console, table):
        console.print(table)
        return
    table = verdict_table(policy, found, configurations=False)
    if not fits(console, table):
        table = verdict_table(policy, found, configurations=False, folded=True)
    console.print(table)
    console.print()
    print_settings(console, {arm: _settings(policy, arm) for arm in reversed(ARMS)})


def print_verdict(
    console: Console,
    policy: ConfirmPolicy,
    found: Verdict,
    test: TestScores | None,
    seconds: float,
    step: NextStep,
) -> None:
    """Print the table, the verdict, the next step, and the reasons for the verdict."""
    metric = policy.experiment.search.objective.metric
    each = "with" if found.paired.n == 1 else "each with"
    seed = f"{each} a fresh seed" + (" and its own validation split" if redraws(policy.experiment.dataset) else "")
    pairs = f"{count(found.paired.n, 'pair')} of trainings, {seed}, in {duration(seconds)}"
    print_line(console, "")
    print_paragraph(console, f"{policy.experiment.name}, confirmed: {pairs}")
    print_line(console, "")
    if explained := caption(found):
        print_paragraph(console, explained)
        print_line(console, "")
    _print_table(console, policy, found)
    verdict, *others = sentences(metric, found)
    print_line(console, "")
    print_paragraph(console, verdict, "bold")
    print_step(console, step)
    for paragraph in (" ".join(others), *([test_sentence(test)] if test is not None else [])):
        if paragraph:
            print_line(console, "")
            print_paragraph(console, paragraph)
