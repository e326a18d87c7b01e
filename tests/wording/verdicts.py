"""The sentences of the verdict, of made-up results in pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.console.verdict_table import print_verdict
from search.experiment.arms import Arm
from search.experiment.dimensions import METHOD
from search.run.budget import Spent
from search.run.causes import failure
from search.run.journal import TrialRecord
from search.verdict.confirm_policy import ConfirmPolicy, ablation_changes
from search.verdict.evidence import ArmScores, Difference, TestScores
from search.verdict.pairs import Role
from search.verdict.plan import Plan
from search.verdict.results import verdict_of
from tests.wording.catalogue import Chapter, Entry, drawn, on_screen
from tests.wording.laid_out import experiment, metrics

SEARCHED = """\
name: demo
dataset: {name: digits}
trial: {epochs: 3, encoder: mlp, modulation: {method: ogm, alpha: 0.5, end: 2, parameters: all}}
space: {fusion: [concat, gated], optimizer.lr: [1e-2, 3e-2]}
"""
BEST: dict[Arm, dict[str, Any]] = {
    "modulated": {"fusion": "concat", "modulation.method": "ogm", "modulation.alpha": 0.5},
    "baseline": {"fusion": "gated", "modulation.method": "none"},
}
BASE = [80.0, 81.5, 79.4, 80.6, 82.1, 80.9, 79.8, 81.2, 80.3, 81.7]
NOISE = [0.313, -0.829, 0.117, 0.941, -0.409, 0.631, -0.727, -0.173, 0.523, -0.263]  # no two sums are the same


@dataclass(frozen=True)
class Results:
    """Accuracies of a confirmation, in per cent.

    Args:
        modulated, baseline: one for each seed.
        ablation: of the better configuration with its modulation switched; None where it was not trained.
        failed: seeds, by place, with which the modulated training failed.
        assignments: put over the experiment.
        plan: what was planned, if not as many seeds as there are results.
        test: what was read of the test split.
        is_same: whether the two configurations differ in the modulation alone.
    """

    modulated: Sequence[float]
    baseline: Sequence[float]
    ablation: Sequence[float] | None = None
    failed: Sequence[int] = ()
    assignments: Sequence[str] = ()
    plan: Plan | None = None
    test: TestScores | None = None
    is_same: bool = False

    @property
    def given(self) -> str:
        """The results as a table."""
        rows = {"modulated": self.modulated, "unmodulated": self.baseline, "modulation switched": self.ablation or ()}
        lines = [f"| {name} | {' | '.join(f'{v:.1f}' for v in values)} |" for name, values in rows.items() if values]
        head = f"| | {' | '.join(f'seed {seed}' for seed in range(7, 7 + len(self.baseline)))} |"
        return "\n".join([head, "|---" * (1 + len(self.baseline)) + "|", *lines])


def better(by: float, n: int = 10) -> list[float]:
    """Return the unmodulated results plus some points and noise."""
    return [value + by + noise for value, noise in zip(BASE[:n], NOISE, strict=False)]


def alike(by: float, n: int = 10) -> list[float]:
    """Return the unmodulated results plus some points and other noise."""
    return [value + by + noise for value, noise in zip(BASE[:n], reversed(NOISE), strict=False)]


def screen(results: Results) -> str:
    """Return what is printed at the end of a confirmation."""
    asked = experiment(SEARCHED, *results.assignments)
    n = len(results.baseline)
    plan = results.plan or Plan(n, False, {"modulated": 0, "baseline": 1})
    seeds = range(7, 7 + plan.seeds)
    best = {**BEST, "baseline": {**BEST["modulated"], METHOD: "none"}} if results.is_same else BEST
    policy = ConfirmPolicy(asked, best, list(seeds), Spent(), sequential=plan.sequential, limited=False)
    rows: list[tuple[Role, Sequence[float]]] = [("baseline", results.baseline), ("modulated", results.modulated)]
    for role, values in [*rows, *([("ablation", results.ablation)] if results.ablation else [])]:
        for place, value in enumerate(values):
            policy.restore(_trained(policy, role, place, value, failed=role == "modulated" and place in results.failed))
    found = verdict_of(policy, plan, lambda number: Path("nowhere"))
    assert found is not None
    return on_screen(lambda console: print_verdict(console, policy, found, results.test, 7322.0))


def _trained(policy: ConfirmPolicy, role: Role, place: int, value: float, *, failed: bool) -> TrialRecord:
    """Return a training as the record has it."""
    of = policy.pairs.ablation_of or "modulated"
    changes = BEST[role] if role != "ablation" else ablation_changes(BEST, of)
    arm: Arm = "baseline" if role == "baseline" or (role == "ablation" and of == "modulated") else "modulated"
    internal = {"pair": place, "role": role}
    number = 10 * place + ("baseline", "modulated", "ablation").index(role)
    trial = TrialRecord(number, arm, internal, {**changes, "seed": policy.seeds[place]})
    trial.epochs = [] if failed else [metrics([value / 100])]
    if "loss" in policy.experiment.search.objective.metric and trial.epochs:
        trial.epochs[0]["best"] = trial.epochs[0]["val/loss"]
    trial.status = "failed" if failed else "finished"
    trial.reason = failure("NonFiniteLoss: the loss is not finite") if failed else None
    return trial


SEQUENTIAL = {"modulated": 0, "baseline": 1}
MODULATED, BASELINE = ArmScores(0.824, 0.009, ()), ArmScores(0.803, 0.011, ())
TEST = TestScores("test/accuracy", 397, 10, MODULATED, BASELINE, Difference(0.021, None, None), {})
VERDICTS: list[tuple[str, Results]] = [
    ("Modulation helps", Results(better(2), BASE, alike(0))),
    ("Modulation helps, and is all that differs", Results(better(2), BASE, is_same=True)),
    ("Modulation hurts", Results(better(-2), BASE, alike(-2))),
    ("No difference", Results(better(0.1), BASE)),
    ("No difference, and none as small can be shown", Results(better(0.001), BASE)),
    ("The configurations differ, and it is not the modulation", Results(better(2), BASE, alike(1.9))),
    ("The better one is not modulated, and it is not the modulation", Results(better(-2), BASE, alike(-0.2))),
    ("The ablation was not trained, as the budget ended", Results(better(2), BASE)),
    ("Three seeds", Results(better(0.1, 3), BASE[:3])),
    ("One seed", Results([82.0], [80.0])),
    ("Seeds that change nothing", Results([82.0] * 6, [80.0] * 6)),
    ("Results that differ too much to show anything", Results([10.0, 90.0], [90.0, 20.0])),
    ("A training that failed", Results(better(0.1), BASE, failed=[3])),
    (
        "Seeds that are added until it is clear",
        Results(better(3), BASE, alike(0), plan=Plan(20, True, SEQUENTIAL)),
    ),
    (
        "Too few seeds to be clear at any number of them",
        Results(better(3, 4), BASE[:4], plan=Plan(20, True, SEQUENTIAL)),
    ),
    (
        "Seeds that were added after a verdict",
        Results(better(3), BASE, alike(0), plan=Plan(20, True, SEQUENTIAL, fixed=(6,))),
    ),
    (
        "The loss is what was searched for",
        Results(better(2), BASE, alike(0), assignments=["search.metric=val/loss", "search.mode=min"]),
    ),
    ("The test split was read", Results(better(0.1), BASE, test=TEST)),
]


def entries() -> Iterator[Entry]:
    for title, results in VERDICTS:
        yield drawn(title, results.given, screen(results))


CHAPTER = Chapter("verdicts", "Verdicts", entries)
