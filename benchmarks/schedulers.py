"""What early stopping saves and what it loses, replayed on recorded curves: `python -m benchmarks.schedulers`.

It replays searches of the demo (`experiments/demo.yaml`). Each search draws some of the 80 recorded configurations,
all with the same one of the three recorded seeds, and runs once under each policy:
  none         trains all trials to the end;
  window ASHA  this project's ASHA with the demo's grace and factor: arms apart, aware of when a window opens;
  blind ASHA   the same without the window: arms apart, every modulated trial ranked with every other;
  Ray's ASHA   Ray Tune's class with the same grace and factor, both arms together;
  median       this project's median rule with the same grace;
  N, then best trains all trials for N epochs, then the best of each arm to the end.

`python -m benchmarks.schedulers record` trains the missing curves (45 minutes on two cores for all of them).
`--variants` replays ASHA with other settings.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from statistics import fmean
from types import SimpleNamespace

from benchmarks import curves
from benchmarks.curves import demo
from benchmarks.estimates import Estimate, mean_of
from benchmarks.replay import (
    Configuration,
    Draw,
    History,
    Policy,
    arrival,
    draw,
    in_hand,
    pool_of,
    stopping,
    try_all,
    winner,
)
from search.experiment.arms import ARMS, Arm
from search.experiment.rungs import grace_of, rung_epochs
from search.tuner.pruners.asha import Asha
from search.tuner.pruners.median import Median
from search.tuner.pruners.peers import LearningCurve, Pruner
from search.tuner.pruners.pruner import NoPruning

WITHIN = 0.5  # points from the best; ROUNDING is the tolerance for floats
ROUNDING = 1e-9
NONE = "none"


# ---- policies ----


@dataclass(frozen=True)
class Blind:
    """Scheduler that treats every window as open from the first epoch."""

    scheduler: Pruner

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> str | None:
        """See `Pruner`."""
        return self.scheduler.decide(_opened(run), map(_opened, runs))


def _opened(run: LearningCurve) -> LearningCurve:
    return run if run.opens is None else replace(run, opens=0)


class RayAsha:
    """Ray Tune's own ASHA, called as Tune would call it. It is stateful, so each search needs a new one."""

    def __init__(self, grace_epochs: int, reduction_factor: int, epochs: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._theirs = AsyncHyperBandScheduler(
            metric="value", mode="max", grace_period=grace_epochs, reduction_factor=reduction_factor, max_t=epochs
        )
        self._trials: dict[int, SimpleNamespace] = {}

    def decide(self, run: LearningCurve, runs: Iterable[LearningCurve]) -> str | None:
        """See `Pruner`."""
        if run.number not in self._trials:
            self._trials[run.number] = SimpleNamespace(trial_id=str(run.number))
            self._theirs.on_trial_add(None, self._trials[run.number])
        result = {"training_iteration": len(run.values), "value": run.values[-1]}
        decision = self._theirs.on_trial_result(None, self._trials[run.number], result)
        return "ray" if decision == self._theirs.STOP else None


def policies() -> dict[str, Policy]:
    """Return the policies by name, with the demo's settings."""
    trial, grace, factor = demo().trial, grace_of(demo()), demo().search.scheduler.reduction_factor
    ours = Asha(rung_epochs(grace, factor, trial.epochs, trial.schedule.milestones), factor, "max", grace)
    return {
        NONE: stopping(NoPruning),
        "window ASHA": stopping(lambda: ours),
        "blind ASHA": stopping(lambda: Blind(ours)),
        "Ray's ASHA": stopping(lambda: RayAsha(grace, factor, trial.epochs), raw=True),
        "median": stopping(lambda: Median(grace, "max")),
        "1, then best": try_all(1),
        f"{grace}, then best": try_all(grace),
    }


def variants() -> dict[str, Policy]:
    """Return ASHA with other graces, factors and rungs, and the other rules with other graces, by name."""
    trial = demo().trial
    found: dict[str, Policy] = {NONE: stopping(NoPruning)}
    for grace, factor in itertools.product((1, 2, 3, 4, 6), (2, 3, 4)):
        for drops in ((), trial.schedule.milestones):
            asha = Asha(rung_epochs(grace, factor, trial.epochs, drops), factor, "max", grace)
            found[f"1 in {factor} at {asha.rungs}"] = stopping(partial(_same, asha))
    for grace in (1, 2, 4, 6, 10):
        found[f"median, grace {grace}"] = stopping(partial(_same, Median(grace, "max")))
        found[f"{grace}, then best"] = try_all(grace)
    return found


def _same(scheduler: Pruner) -> Pruner:
    """Return the scheduler itself: one without state serves every search."""
    return scheduler


# ---- the result of a search ----


@dataclass(frozen=True)
class Outcome:
    """Result of one search. Accuracies and their differences are in points.

    Args:
        epochs: total number of epochs trained.
        arrived: number of epochs after which the search's choice stays within half a point of the pool's best.
        behind_draw: gap of the final choice to the best of the search's own trials, over all seeds.
        behind: gap of the choice after each epoch to the best of all recorded configurations.
        unseen: accuracy of the final choice with the seeds that the search did not see.
        behind_arm: gap of each arm's chosen trial to the arm's best trial.
        difference: modulated minus baseline of the arms' chosen trials, with the seeds that the search did not see.
    """

    epochs: int
    arrived: int | None
    behind_draw: float
    behind: Sequence[float]
    unseen: float
    behind_arm: dict[Arm, float]
    difference: float


def outcome(drawn: Draw, history: History, best_of_pool: float) -> Outcome:
    hands = in_hand(drawn, history)
    quality = [trial.quality for trial in drawn.trials]
    behind = [100 * (best_of_pool - quality[winner(hand)]) for hand in hands]
    named = {arm: leader.number for arm, leader in hands[-1].items()}
    last = winner(hands[-1])
    unseen = {arm: 100 * drawn.trials[number].unseen(drawn.seed) for arm, number in named.items()}
    arm_best = {arm: max(t.quality for t in drawn.trials if t.arm == arm) for arm in named}
    return Outcome(
        epochs=len(history),
        arrived=arrival([points <= WITHIN + ROUNDING for points in behind]),
        behind_draw=100 * (max(quality) - quality[last]),
        behind=behind,
        unseen=100 * drawn.trials[last].unseen(drawn.seed),
        behind_arm={arm: 100 * (arm_best[arm] - quality[number]) for arm, number in named.items()},
        difference=unseen["modulated"] - unseen["baseline"],
    )


def epochs_to_arrive(outcomes: Sequence[Outcome]) -> Estimate | None:
    """Return the expected number of epochs, over repeated searches, until one arrives; None if none arrives.

    A search that does not arrive counts with all of its epochs. The result is the ratio of two means, the *expected
    running time* of Hansen et al. (COCO).
    """
    spent = [o.epochs if o.arrived is None else o.arrived for o in outcomes]
    arrived = [o.arrived is not None for o in outcomes]
    if not any(arrived):
        return None
    ratio = sum(spent) / sum(arrived)
    error = mean_of(s - ratio * a for s, a in zip(spent, arrived, strict=True)).error / fmean(arrived)
    return Estimate(ratio, error)


# ---- tables ----

Results = dict[str, list[Outcome]]


def replays(pool: Sequence[Configuration], which: dict[str, Policy], trials: int, workers: int, number: int) -> Results:
    """Replay each policy on the same draws."""
    share, best = demo().search.baseline_share, max(c.quality for c in pool)
    draws = [draw(pool, trials, share, n) for n in range(number)]
    return {name: [outcome(d, policy(d, workers), best) for d in draws] for name, policy in which.items()}


def cost_row(outcomes: Sequence[Outcome], full: Sequence[Outcome]) -> list[str]:
    there = epochs_to_arrive(outcomes)
    return [
        mean_of(o.epochs for o in outcomes).shown(1),
        f"{fmean(o.arrived is not None for o in outcomes):.0%}",
        there.shown(0) if there else "never",
        mean_of(o.behind_draw for o in outcomes).shown(2),
        mean_of(o.behind[-1] for o in outcomes).shown(2),
        mean_of(f.behind[o.epochs - 1] for o, f in zip(outcomes, full, strict=True)).shown(2),
        mean_of(o.unseen for o in outcomes).shown(2),
        mean_of(o.unseen - f.unseen for o, f in zip(outcomes, full, strict=True)).shown(2, "+"),
    ]


def arms_row(outcomes: Sequence[Outcome], full: Sequence[Outcome]) -> list[str]:
    off = [o.difference - f.difference for o, f in zip(outcomes, full, strict=True)]
    return [
        *(mean_of(o.behind_arm[arm] for o in outcomes).shown(2) for arm in ARMS),
        mean_of(o.difference for o in outcomes).shown(2, "+"),
        mean_of(off).shown(2, "+"),
        f"{sqrt(fmean(each**2 for each in off)):.2f}",
    ]


COST = ["epochs", "reached", "epochs to reach", "behind draw", "behind pool", "none by then", "unseen", "against none"]
BY_ARM = ["baseline behind", "modulated behind", "difference", "against none", "off by"]


def print_table(results: Results, columns: list[str], rows: dict[str, list[str]]) -> None:
    wide = max(map(len, results)) + 1
    print(" " * wide + "".join(f"{column:>17}" for column in columns))
    for name, row in rows.items():
        print(f"{name:{wide}}" + "".join(f"{cell:>17}" for cell in row), flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("replay", "record"), default="replay")
    parser.add_argument("--processes", type=int, default=2, help="parallel trainings of `record`")
    parser.add_argument("--replays", type=int, default=300)
    parser.add_argument("--variants", action="store_true", help="replay other settings instead")
    given = parser.parse_args()
    if given.what == "record":
        curves.record(given.processes)
        return
    pool = pool_of(curves.read())
    report(pool, variants() if given.variants else policies(), given.replays)


def report(pool: Sequence[Configuration], which: dict[str, Policy], number: int) -> None:
    every = 2 * len(pool)  # more than there are: the plan omits what an arm lacks
    for trials in (demo().search.trials, every):
        for workers in (1, 4):
            results = replays(pool, which, trials, workers, number)
            full = results[NONE]
            print(f"{min(trials, len(pool))} of {len(pool)} configurations, {workers} at a time, {number} searches")
            print_table(results, COST, {name: cost_row(each, full) for name, each in results.items()})
            print_table(results, BY_ARM, {name: arms_row(each, full) for name, each in results.items()})


if __name__ == "__main__":
    main()
