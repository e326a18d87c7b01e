"""What a search says at its end."""

from __future__ import annotations

import io

from rich.console import Console

from search.console.summary import EpochCounts, bests_rows, epochs_line, front_table
from search.run.best import bests
from search.run.budget import Spent
from search.run.trials import SearchRecord, TrialRecord
from tests.search.tuner.test_tuner import experiment
from tests.support.tells import tells


def test_a_front_is_listed_by_arm_from_the_best_in_the_first_metric():
    record = SearchRecord()
    found = [("modulated", 0.5, 1.0), ("modulated", 0.625, 2.0), ("modulated", 0.5, 1.5), ("baseline", 0.75, 3.0)]
    for number, (arm, accuracy, loss) in enumerate(found):
        epochs = [{"epoch": 0, "val/accuracy": accuracy, "val/loss": loss, "best": accuracy}]
        record.trials[number] = TrialRecord(number, arm, {}, {"fusion": "[sum]"}, "stopped", epochs)
    screen = Console(file=io.StringIO(), width=120, record=True)
    screen.print(front_table(experiment("search.metric=[val/accuracy,val/loss]", "search.mode=[max,min]"), record))
    head, *rows = [line.split() for line in screen.export_text().splitlines()]
    assert head[-4:-1] == ["trial", "val/accuracy", "val/loss"]
    assert rows == [
        ["modulated", "1", "62.5", "%", "2.0000", "fusion=[sum]"],
        ["modulated", "0", "50.0", "%", "1.0000", "fusion=[sum]"],
        ["baseline", "3", "75.0", "%", "3.0000", "fusion=[sum]"],
    ]


def test_a_setting_with_a_space_in_it_stays_whole_where_each_has_a_line_of_its_own():
    record, asked = SearchRecord(), experiment()
    epochs = [{"epoch": 0, "val/accuracy": 0.5, "best": 0.5}]
    record.trials[0] = TrialRecord(0, "baseline", {}, {"fusion": "sum", "milestones": [1, 2]}, "finished", epochs)
    rows = dict(bests_rows(asked, record, bests(record, asked.search.objective), "\n"))
    assert rows["configuration"].splitlines() == ["fusion=sum", "milestones=[1, 2]"]


def test_epochs_are_split_only_where_there_is_a_split():
    assert epochs_line(EpochCounts(12, 0, 0, 0, 0, 0), Spent(epochs=12)) == "12 epochs trained"
    assert epochs_line(EpochCounts(1, 0, 0, 0, 0, 0), Spent(epochs=1)) == "1 epoch trained"
    tells(epochs_line(EpochCounts(12, 0, 0, 0, 0, 0), Spent(gpu_seconds=7200.0)), "12 epochs trained; 2 GPU-hours")
    tells(epochs_line(EpochCounts(12, 2, 3, 0, 0, 0), Spent(epochs=12)), "17 epochs: 12 trained, 2", 3)
    tells(epochs_line(EpochCounts(0, 0, 0, 4, 0, 0), Spent()), "4 epochs: 0 trained, 4")
