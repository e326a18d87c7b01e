"""Benchmark of many trials, with real workers, and what Ray Tune still holds of trials that have ended."""

from __future__ import annotations

import gc

import pytest

from benchmarks import memory
from benchmarks.overhead import experiment_of, ours
from search.run.trials import TrialRecord
from search.tuner.tuner import Tuner

TRIALS = 8


class Held:
    """Callback that notes, at each end of a trial, the numbers in the settings of Tune's trials."""

    def __init__(self, tuner: Tuner) -> None:
        self.numbers: list[set[int]] = []
        self.statistics: list[int] = []

    def on_start(self, trial: TrialRecord) -> None:
        """Do nothing."""

    def on_report(self, trial: TrialRecord) -> None:
        """Do nothing."""

    def on_end(self, trial: TrialRecord) -> None:
        from ray.tune.experiment import Trial

        held = [each for each in gc.get_objects() if type(each) is Trial]
        self.numbers.append({each.config["number"] for each in held if each.config})
        self.statistics.append(sum(bool(each.metric_analysis) for each in held))


@pytest.mark.slow
def test_tune_forgets_trials_that_have_ended_and_the_search_can_be_opened_and_reported(tmp_path):
    held: list[Held] = []

    def watch(tuner: Tuner) -> Held:
        held.append(Held(tuner))
        return held[0]

    ours(TRIALS, tmp_path, tracked=False, watch=watch)
    [seen] = held
    assert len(seen.numbers) == TRIALS
    assert all(len(numbers) <= 4 for numbers in seen.numbers)  # what runs, and what has just ended
    assert all(number <= 4 for number in seen.statistics)
    assert not seen.numbers[-1] & {0, 1, 2, 3}
    experiment = experiment_of(TRIALS)
    assert memory.resume(experiment, tmp_path, tracked=False) > 0
    assert memory.report(experiment, tmp_path)[1] > 1_000_000  # with Plotly
    assert len(memory.optuna_alone(experiment, 20)) == 2
