"""The verdict on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.console.progress import View
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import configuration, duration, format_value
from search.run.budget import remaining
from search.run.journal import TrialRecord
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy, title
from search.verdict.decide import Verdict
from search.verdict.evidence import TestScores
from search.verdict.seeds import redraws
from search.verdict.text import HEADINGS, TITLES, sentences, test_sentence, verdict_rows


def of_confirmation(tuner: Tuner) -> View:
    """How a confirmation in progress is shown: how far each arm's mean is."""
    policy = tuner.policy
    assert isinstance(policy, ConfirmPolicy)
    metric = tuner.experiment.search.objective.metric

    def what(trial: TrialRecord) -> str:
        return f"{title(trial)} seed={trial.changes['seed']}"

    def means() -> list[str]:
        lines = []
        for arm in reversed(ARMS):
            done = [trial.best for trial in _finished_trials(tuner, arm) if trial.best is not None]
            if done:
                lines.append(f"mean of {len(done)} {TITLES[arm]}  {format_value(metric, sum(done) / len(done))}")
        return lines

    def unspent() -> list[tuple[float, str]]:
        return remaining(policy.experiment.search.budget, policy.spent + tuner.record.spent) if policy.limited else []

    return View(f"{tuner.experiment.name}, confirmation", "trainings", what, means, unspent)


def _finished_trials(tuner: Tuner, arm: Arm) -> list[TrialRecord]:
    return [t for t in tuner.record if t.internal["role"] == arm and t.status == "finished"]


def verdict_table(policy: ConfirmPolicy, found: Verdict) -> Table:
    """The same for the screen, with the configurations."""
    metric = policy.experiment.search.objective.metric
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in ("", *HEADINGS):
        table.add_column(heading, overflow="fold")
    rows: list[tuple[str, ...]] = [*verdict_rows(metric, found, policy.pairs.ablation_of)]
    best = {arm: configuration(policy.best[arm]) for arm in ARMS}
    rows.append(("configuration", *(best[arm].replace(" ", "\n") for arm in reversed(ARMS)), ""))
    for name, *texts in rows:
        table.add_row(Text(name, style="dim"), *map(Text, texts))
    return table


def print_verdict(
    console: Console, policy: ConfirmPolicy, found: Verdict, test: TestScores | None, seconds: float
) -> None:
    """Prints all of it."""
    metric = policy.experiment.search.objective.metric
    split = ", each pair with a validation split of its own" if redraws(policy.experiment.dataset) else ""
    console.print(
        f"\n[bold]{policy.experiment.name}[/bold], confirmed: {found.paired.n} pairs of fresh seeds{split}, in "
        f"{duration(seconds)}\n",
        highlight=False,
    )
    console.print(verdict_table(policy, found))
    console.print()
    console.print(Text(" ".join(sentences(metric, found))))
    if test is not None:
        console.print()
        console.print(Text(test_sentence(test)))
