"""Output of the verdict, from made-up pairs of results."""

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
from search.run.folder import RunFolder
from search.run.trials import TrialRecord
from search.verdict.confirm_policy import ConfirmPolicy, ablation_changes
from search.verdict.evidence import ArmScores, Difference, TestScores
from search.verdict.next_step import Confirmed, after_verdict
from search.verdict.pairs import Role
from search.verdict.plan import Plan
from search.verdict.results import evidence_of, verdict_of
from tests.wording.catalogue import Chapter, Entry, drawn, on_screen
from tests.wording.laid_out import experiment, metrics

SEARCHED = """\
name: demo
dataset: {name: digits}
trial: {epochs: 3, encoder: mlp, modulation: {method: ogm, alpha: 0.5, end: 2, parameters: all}}
space: {fusion: [concat, gated], optimizer.lr: [1e-2, 3e-2], modulation.alpha: {low: 0.05, high: 1.5, log: true}}
"""
BEST: dict[Arm, dict[str, Any]] = {
    "modulated": {"fusion": "concat", "modulation.method": "ogm", "modulation.alpha": 0.5},
    "baseline": {"fusion": "gated", "modulation.method": "none"},
}
BASE = [80.0, 81.5, 79.4, 80.6, 82.1, 80.9, 79.8, 81.2, 80.3, 81.7]
NOISE = [0.313, -0.829, 0.117, 0.941, -0.409, 0.631, -0.727, -0.173, 0.523, -0.263]  # all sums of two differ


@dataclass(frozen=True)
class Results:
    """Accuracies of a confirmation, in percent.

    Args:
        modulated, baseline: accuracy for each seed.
        ablation: accuracy of the better configuration with its modulation switched; None if it was not trained.
        failed: positions of the seeds with which the modulated training failed.
        assignments: assignments that override the experiment.
        plan: plan of the confirmation; by default as many seeds as results.
        test: scores on the test split.
        is_same: whether the two configurations differ only in the modulation.
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
        """Results as a Markdown table."""
        rows = {"modulated": self.modulated, "baseline": self.baseline, "ablation": self.ablation or ()}
        lines = [f"| {name} | {' | '.join(f'{v:.1f}' for v in values)} |" for name, values in rows.items() if values]
        head = f"| | {' | '.join(f'seed {seed}' for seed in range(7, 7 + len(self.baseline)))} |"
        return "\n".join([head, "|---" * (1 + len(self.baseline)) + "|", *lines])


def better(by: float, n: int = 10) -> list[float]:
    """Return the baseline's results plus some points and noise."""
    return [value + by + noise for value, noise in zip(BASE[:n], NOISE, strict=False)]


def alike(by: float, n: int = 10) -> list[float]:
    """Return the baseline's results plus some points and different noise."""
    return [value + by + noise for value, noise in zip(BASE[:n], reversed(NOISE), strict=False)]


def screen(results: Results) -> str:
    """Return the output at the end of a confirmation."""
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
    pairs, folder = policy.pairs, RunFolder(Path("runs/demo"))
    evidence = evidence_of(policy, plan, found, lambda number: Path("nowhere"))
    is_test_read = results.test is not None
    step = after_verdict(
        Confirmed(asked, folder, evidence, pairs.planned, Spent(), pairs.failures, is_test_read, has_test_split=True)
    )
    return on_screen(lambda console: print_verdict(console, policy, found, results.test, 7322.0, step))


def _trained(policy: ConfirmPolicy, role: Role, place: int, value: float, *, failed: bool) -> TrialRecord:
    """Return the record of a training."""
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
    ("Modulation helps, and nothing else differs", Results(better(2), BASE, is_same=True)),
    ("Modulation hurts", Results(better(-2), BASE, alike(-2))),
    ("No difference", Results(better(0.1), BASE)),
    ("A difference too small to be detected", Results(better(0.001), BASE)),
    ("The modulated configuration is better, but not because of the modulation", Results(better(2), BASE, alike(1.9))),
    ("The baseline is better, but not because of the modulation", Results(better(-2), BASE, alike(-0.2))),
    ("The ablation was not trained because the budget was spent", Results(better(2), BASE)),
    ("Three seeds", Results(better(0.1, 3), BASE[:3])),
    ("One seed", Results([82.0], [80.0])),
    ("Seeds make no difference", Results([82.0] * 6, [80.0] * 6)),
    ("Results with too large a spread", Results([10.0, 90.0], [90.0, 20.0])),
    ("A failed training", Results(better(0.1), BASE, failed=[3])),
    (
        "Seeds added until the result is clear",
        Results(better(3), BASE, alike(0), plan=Plan(20, True, SEQUENTIAL)),
    ),
    (
        "Too few seeds for a sequential verdict",
        Results(better(3, 4), BASE[:4], plan=Plan(20, True, SEQUENTIAL)),
    ),
    (
        "Seeds added after a verdict",
        Results(better(3), BASE, alike(0), plan=Plan(20, True, SEQUENTIAL, fixed=(6,))),
    ),
    (
        "The metric is the loss",
        Results(better(2), BASE, alike(0), assignments=["search.metric=val/loss", "search.mode=min"]),
    ),
    ("The test split was read", Results(better(0.1), BASE, test=TEST)),
]


def entries() -> Iterator[Entry]:
    for title, results in VERDICTS:
        yield drawn(title, results.given, screen(results))


CHAPTER = Chapter("verdicts", "Verdicts", entries)
