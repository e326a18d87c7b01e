"""What a search leaves: an experiment file that trains the best as it was, and a table that any program reads."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from search.cli.main import main
from search.experiment.arms import ARMS
from search.experiment.load import load
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.report.export import Choice, best_experiment, export_run, trials_table
from search.run.best import Best, best_of
from search.run.causes import failure
from search.run.folder import write
from search.run.trials import SearchRecord, TrialRecord
from tests.search.tuner.test_tuner import experiment, opened, simulate
from tests.support.tells import tells
from tests.wording.laid_out import confirmed, searched, trained


def written(asked: Experiment, best: Best, place: Path = Path("runs/demo/best.yaml")) -> str:
    return best_experiment(asked, Choice(best.trial, best.metrics), "f1n9e2", place)


def exported(asked: Experiment, best: Best) -> Experiment:
    """The best as it comes out of its file."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "best.yaml"
        write(place, written(asked, best, place))
        return load(place)


OPTIONS = [
    (),
    ("search.metric=val/loss", "search.mode=min"),
    ("search.metric=val/accuracy/audio", "search.seed=3", "search.sampler=random"),
    ("tracking.uri=http://localhost:5000", "tracking.checkpoints=none"),
    ("dataset.snr_db=[-1e-3,1.0e+2]", "dataset.seed=5"),
    ("trial.encoder={audio: small_conv, visual: resnet18}", "trial.weights={audio: null, visual: DEFAULT}"),
    ("trial.schedule={name: step, milestones: [1, 3], gamma: 0.5}", "trial.precision=bf16", "trial.seed=7"),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_best_yaml_trains_an_arms_best_as_it_was_and_searches_nothing(tmp_path, options):
    tuner = opened(tmp_path / "journal.jsonl", *options)
    simulate(tuner)
    asked = tuner.experiment
    for arm in ARMS:
        best = best_of(tuner.record, arm, asked.search.metric, asked.search.mode)
        found = exported(asked, best)
        assert found.trial == with_changes(asked.trial, best.trial.changes)
        assert (found.trial.modulation.method == "none") is (arm == "baseline")
        assert (found.name, found.space) == ("simulated-best", {})
        assert (found.dataset, found.tracking) == (asked.dataset, asked.tracking)
        assert (found.search.metric, found.search.mode) == (asked.search.metric, asked.search.mode)


def best_with(changes: dict) -> Best:
    return Best(TrialRecord(3, "modulated", {}, changes), {"epoch": 7, "val/accuracy": 0.875}, 0.875)


@settings(deadline=None)
@given(alpha=st.floats(0, 1e300), lr=st.floats(1e-300, 1e300), start=st.integers(0, 4))
def test_numbers_come_through_to_the_last_bit(alpha, lr, start):
    changes = {"modulation.alpha": alpha, "optimizer.lr": lr, "modulation.start": start, "modulation.end": 4}
    assert exported(experiment(), best_with(changes)).trial == with_changes(experiment().trial, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "DEFAULT"},
        {"encoder": {"audio": "small_conv", "visual": "my.models:make"}},
        {"schedule.milestones": [1, 2]},
        {"weights": None},
    ],
)
def test_texts_and_lists_come_through(changes):
    assert exported(experiment(), best_with(changes)).trial == with_changes(experiment().trial, changes)


@pytest.mark.parametrize("name", ["1e3", 'no: #1, [it\'s] "so"', "naïve/größe.pt", "../outside.pt"])
def test_paths_come_through(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    changes = {"weights": os.path.abspath(name)}
    assert exported(experiment(), best_with(changes)).trial == with_changes(experiment().trial, changes)


def test_the_longest_name_that_a_search_can_have_has_a_best(tmp_path):
    longest = experiment(f"name={'n' * 100}")
    assert exported(longest, best_with({})).name.endswith("n-best")


def test_best_yaml_says_what_it_is_and_how_to_train_it():
    lines = written(experiment(), best_with({})).splitlines()
    head = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    tells("\n".join(head), "Trial 3", "modulated", "`simulated`", "val/accuracy 87.5 %", "epoch 7", "one seed")
    assert sum(line.endswith(" uv run python -m search train runs/demo/best.yaml") for line in head) == 1


def test_what_was_written_is_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    searched()
    line = "wrote best.yaml: trial 0 (modulated) of demo, val/accuracy "
    assert export_run(Path("runs/demo"), Path("best.yaml"), None) == (
        f"{line}80.0 % at epoch 2 (one seed; epochs count from 0)"
    )
    confirmed()
    assert export_run(Path("runs/demo"), Path("best.yaml"), None) == f"{line}78.1 % (mean of 6 fresh seeds)"


@pytest.mark.parametrize("command", ["export", "report", "confirm"])
def test_a_training_is_no_search(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    trained("demo")
    result = CliRunner().invoke(main, [command, "demo"])
    assert (result.exit_code, result.output) == (
        2,
        "there is no search in runs/demo, which holds a training: start one with `uv run run_search.py FILE`\n",
    )


# ---- trials.csv ----


def rows_of(asked: Experiment, record: SearchRecord) -> list[dict[str, str]]:
    """The table as Python's csv and everything like it reads it from the file."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "trials.csv", trials_table(asked, record))
        with (Path(folder) / "trials.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, strict=True))


def test_the_table_has_a_row_for_each_trial(tmp_path):
    tuner = opened(tmp_path / "journal.jsonl")
    simulate(tuner)
    rows = rows_of(tuner.experiment, tuner.record)
    assert [row["trial"] for row in rows] == [str(n) for n in range(14)]
    assert {row["status"] for row in rows} == {"finished", "stopped", "failed"}
    for row, trial in zip(rows, tuner.record, strict=True):
        assert (row["arm"], row["status"], row["reason"]) == (trial.arm, trial.status, str(trial.reason or ""))
        assert {path: row[path] for path in trial.changes} == {p: str(v) for p, v in trial.changes.items()}
        assert float(row["seconds"]) == int(row["epochs_trained"]) == len(trial.epochs)
        best = trial.best_epoch("val/accuracy")
        shown = {"val/accuracy": "", "val/loss": "", "best_epoch": ""}
        if best is not None:
            shown = {"val/accuracy": str(best["val/accuracy"]), "val/loss": str(best["val/loss"])}
            shown["best_epoch"] = str(best["epoch"])
        assert {column: row[column] for column in shown} == shown
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["epochs_trained"] for row in failed] == ["0", "1"]
    assert {row["reason"] for row in failed} == {'ValueError: clip 17, "a\n[red]b"'}


def test_how_long_a_trial_was_to_train_and_how_long_it_did_are_told_apart():
    record = SearchRecord()
    epochs = [{"epoch": 0, "val/accuracy": 0.5, "best": 0.5, "seconds": 2.0}]
    record.trials[0] = TrialRecord(0, "baseline", {}, {"epochs": 8}, "stopped", epochs)
    (row,) = rows_of(experiment(), record)
    assert (row["epochs"], row["epochs_trained"]) == ("8", "1")


def read_cell(cell: str) -> str:
    """Return the text in a cell after checking that neither a spreadsheet nor a terminal runs it."""
    assert not cell.startswith(("=", "@", "+", "-", "\t", "\n")) or re.fullmatch(r"[+-][\d.]+", cell)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in cell if c not in "\n\t")
    return cell.replace("'", "").encode("latin-1", "backslashreplace").decode("unicode_escape")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\\'")), min_size=1, max_size=5))
def test_any_reason_stays_in_its_cell(reasons):
    record = SearchRecord()
    for number, reason in enumerate(reasons):
        record.trials[number] = TrialRecord(number, "baseline", {}, {"fusion": "sum"}, "failed", [], failure(reason))
    rows = rows_of(experiment(), record)
    assert list(map(read_cell, (row["reason"] for row in rows))) == reasons
    assert {(row["fusion"], row["status"], len(row)) for row in rows} == {("sum", "failed", len(rows[0]))}


def test_where_there_are_several_metrics_the_table_says_who_is_on_the_front():
    several = ("search.metric=[val/accuracy,val/loss]", "search.mode=[max,min]")
    record = SearchRecord()
    for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.6, 2.0), (0.5, 1.5)]):
        epochs = [{"epoch": 0, "val/accuracy": accuracy, "val/loss": loss, "best": accuracy, "seconds": 1.0}]
        record.trials[number] = TrialRecord(number, "baseline", {}, {}, "finished", epochs)
    record.trials[3] = TrialRecord(3, "modulated", {}, {}, "failed", [])
    assert [row["pareto_front"] for row in rows_of(experiment(*several), record)] == ["yes", "yes", "no", "no"]
    assert "pareto_front" not in rows_of(experiment(), record)[0]
    best = written(experiment(*several), best_with({}))
    assert yaml.safe_load(best)["search"] == {"metric": "val/accuracy", "mode": "max"}


def test_a_search_without_a_trial_has_a_table_without_a_row():
    assert rows_of(experiment(), SearchRecord()) == []
