"""The verdict on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.arms import ARMS, Arm
from search.confirmation.pairs import Values
from search.confirmation.policy import Confirmation, title
from search.confirmation.seeds import redraws
from search.labels import duration, label, shown, signed
from search.progress import View
from search.record import TrialRecord
from search.session import Session
from search.statistics.paired import Paired, Range, Spread
from search.statistics.verdict import Claim, Verdict, claim_of

TITLES: dict[Arm, str] = {"modulated": "modulated", "baseline": "unmodulated"}
HEADLINES: dict[Claim, str] = {"helps": "Modulation helps", "hurts": "Modulation hurts"}  # but for "none"


def of_confirmation(session: Session) -> View:
    """How a confirmation in progress is shown: how far each arm's mean is."""
    policy = session.policy
    assert isinstance(policy, Confirmation)
    metric = session.experiment.search.objective.metric

    def what(trial: TrialRecord) -> str:
        return f"{title(trial)} seed={trial.changes['seed']}"

    def found() -> list[str]:
        lines = []
        for arm in reversed(ARMS):
            done = [trial.best for trial in _finished(session, arm) if trial.best is not None]
            if done:
                lines.append(f"mean of {len(done)} {TITLES[arm]}  {shown(metric, sum(done) / len(done))}")
        return lines

    return View(f"{session.experiment.name}, confirmation", "trainings", what, found)


def _finished(session: Session, arm: Arm) -> list[TrialRecord]:
    return [t for t in session.record if t.internal["role"] == arm and t.status == "finished"]


def _spread(metric: str, spread: Spread) -> str:
    if spread.sd is None:
        return shown(metric, spread.mean)
    if "accuracy" in metric:
        return f"{100 * spread.mean:.1f} ± {100 * spread.sd:.1f} %"
    return f"{spread.mean:.4f} ± {spread.sd:.4f}"


def _difference(metric: str, mean: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return signed(metric, mean)
    return f"{signed(metric, mean)} ({signed(metric, low, unit=False)} to {signed(metric, high, unit=False)})"


def _row(metric: str, pairs: Paired) -> tuple[str, str, str]:
    return (
        _spread(metric, pairs.modulated),
        _spread(metric, pairs.baseline),
        _difference(metric, pairs.mean, pairs.low, pairs.high),
    )


def verdict_table(policy: Confirmation, values: Values, found: Verdict) -> Table:
    """Each arm's mean and standard deviation, and the difference with its 95 % interval."""
    metric = policy.experiment.search.objective.metric
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in ("", TITLES["modulated"], TITLES["baseline"], "difference (95 %)"):
        table.add_column(heading, overflow="fold")
    low, high = found.interval or (None, None)
    modulated, baseline, _ = _row(metric, found.paired)
    rows: list[tuple[str, ...]] = [(metric, modulated, baseline, _difference(metric, found.paired.mean, low, high))]
    for name, alone in found.alone.items():
        p = "" if alone.holm_p is None else f", p = {alone.holm_p:.2g}"
        cells = _row("accuracy", alone.paired)
        rows.append((f"  {name} alone", *cells[:2], cells[2] + p))
    if found.twin is not None:
        of = policy.pairs.twin_of
        switched = "modulation off" if of == "modulated" else "modulation on"
        low, high = found.twin_interval or (None, None)
        cells = _row(metric, found.twin)
        rows.append((f"  the same, {switched}", *cells[:2], _difference(metric, found.twin.mean, low, high)))
    if found.examples is not None:
        rows.append(("  examples redrawn", "", "", _range("accuracy", found.examples)))
    best = {arm: label({p: v for p, v in policy.best[arm].items() if p != "seed"}) for arm in ARMS}
    rows.append(("configuration", *(best[arm].replace(" ", "\n") for arm in reversed(ARMS)), ""))
    for name, *texts in rows:
        table.add_row(Text(name, style="dim"), *map(Text, texts))
    return table


def _range(metric: str, found: Range) -> str:
    return _difference(metric, found.mean, found.low, found.high)


def sentences(metric: str, found: Verdict) -> list[str]:
    """What the table means."""
    pairs, said = found.paired, []
    if found.claim == "none":
        said.append(f"{found.word[0].upper()}{found.word[1:]}.")
    else:
        said.append(f"{HEADLINES[found.claim]}, by {_of(metric, pairs.mean)} as it looks from {pairs.n} seeds.")
    if found.detectable is not None:
        able = f"{pairs.n} seeds show a true difference of {_of(metric, found.detectable)} in four cases of five"
        said.append(f"{able}{_more_seeds(found)}.")
    if found.sign_flip_p is not None:
        said.append(
            f"Exact sign-flip p = {found.sign_flip_p:.2g}; the smallest that {pairs.n} seeds allow is "
            f"{found.smallest_p:.2g}."
        )
    if found.evidence is not None:
        said.append(f"Evidence against no difference: {found.evidence:.3g}, where 20 is clear.")
    return [*said, *found.notes]


def _more_seeds(found: Verdict) -> str:
    """How many would show the difference seen, where the pairs show none."""
    if claim_of(found.interval, found.mode) != "none" or not found.paired.mean:
        return ""
    if found.seeds_for_seen is None:
        return "; one as small as the one seen is out of reach"
    return f"; one as large as the one seen would take {found.seeds_for_seen}"


def description(metric: str, found: Verdict) -> str:
    """The same as Markdown, for the search's page in MLflow."""
    low, high = found.interval or (None, None)
    cells = (*_row(metric, found.paired)[:2], _difference(metric, found.paired.mean, low, high))
    rows = [("", *(TITLES[arm] for arm in reversed(ARMS)), "difference (95 %)"), ("---",) * 4, (metric, *cells)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{' '.join(sentences(metric, found))}\n\n{table}"


def _of(metric: str, difference: float) -> str:
    return signed(metric, abs(difference)).removeprefix("+")


def print_verdict(
    console: Console, policy: Confirmation, found: Verdict, test: Mapping[str, Any] | None, seconds: float
) -> None:
    """Prints all of it."""
    metric = policy.experiment.search.objective.metric
    values = policy.pairs.values()
    split = ", each pair with a validation split of its own" if redraws(policy.experiment.dataset) else ""
    console.print(
        f"\n[bold]{policy.experiment.name}[/bold], confirmed: {found.paired.n} pairs of fresh seeds{split}, in "
        f"{duration(seconds)}\n",
        highlight=False,
    )
    console.print(verdict_table(policy, values, found))
    console.print()
    console.print(Text(" ".join(sentences(metric, found))))
    if test is not None:
        console.print()
        console.print(Text(test_sentence(test)))


def test_sentence(test: Mapping[str, Any]) -> str:
    """The pair of numbers that one publishes."""
    arms = {arm: f"{100 * test[arm]['mean']:.1f}" for arm in ARMS}
    spread = {arm: "" if test[arm]["sd"] is None else f" ± {100 * test[arm]['sd']:.1f}" for arm in ARMS}
    return (
        f"On the test split ({test['examples']} examples, read once for all models): modulated {arms['modulated']}"
        f"{spread['modulated']} %, unmodulated {arms['baseline']}{spread['baseline']} % (mean and standard deviation "
        f"of {test['seeds']} seeds each)."
    )
