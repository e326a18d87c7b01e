"""A search of the demo without training: this project's own decisions on given learning curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from benchmarks.replay import side_by_side
from search.experiment.load import load
from search.experiment.schema import Experiment
from search.run.journal import Journal
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.search_policy import Policy
from search.tuner.tuner import Tuner

AT_ONCE = 2  # trials that run at the same time, as the demo on two cores
Way = Literal["apart", "transfer"]
WAYS: dict[Way, tuple[str, ...]] = {"apart": ("search.transfer=0",), "transfer": ()}


@cache
def demo(way: Way) -> Experiment:
    """Load the demo's experiment, with its arms searched apart or with its own `search.transfer`."""
    return load(Path(__file__).parents[1] / "experiments" / "demo.yaml", WAYS[way])


def seeded(experiment: Experiment, seed: int) -> Experiment:
    """Return the experiment with another `search.seed`."""
    return experiment.model_copy(update={"search": experiment.search.model_copy(update={"seed": seed})})


class MemoryJournal:
    """Journal without a file."""

    path = Path("memory")

    def replay(self) -> SearchRecord:
        return SearchRecord()

    def append(self, event: dict[str, Any]) -> None:
        """Do nothing: the tuner applies the event to its record."""


def simulate(
    experiment: Experiment, policy: Policy, curve_of: Callable[[TrialRecord], Sequence[float]]
) -> SearchRecord:
    """Run all trials of a policy, two at a time. All epochs take equally long.

    Args:
        experiment: experiment to search.
        policy: policy of the search or of the confirmation.
        curve_of: function that returns a trial's metric after each epoch up to its end; higher is better.
    """
    tuner = Tuner(experiment, cast(Journal, MemoryJournal()), policy)
    curves: dict[int, Sequence[float]] = {}

    def hand_out() -> Iterator[int]:
        while (trial := tuner.next()) is not None:
            curves[trial.number] = curve_of(trial)
            tuner.record_start(trial.number)
            yield trial.number

    def goes_on(number: int) -> bool:
        return _train_epoch(tuner, tuner.record.trials[number], curves[number])

    while not tuner.over:  # a confirmation asks for its ablations once the pairs are over
        side_by_side(hand_out(), AT_ONCE, goes_on)
    return tuner.record


def _train_epoch(tuner: Tuner, trial: TrialRecord, curve: Sequence[float]) -> bool:
    """Report the trial's next epoch; return whether the trial continues."""
    epoch = len(trial.epochs)
    value = curve[epoch]
    best = max([value, *trial.bests[-1:]])
    metric = tuner.experiment.search.objective.metric
    reason = tuner.record_epoch(trial.number, {"epoch": epoch, metric: value, "best": best, "seconds": 1.0})
    if reason is not None:
        tuner.record_end(trial.number, "stopped", reason)
    elif epoch + 1 == len(curve):
        tuner.record_end(trial.number, "finished")
    return not trial.is_over
