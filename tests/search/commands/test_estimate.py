"""A dry run measures real trials, says what a search takes, and leaves nothing behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.forecast import RECORD
from ogmge import fit
from ogmge.config import TrialConfig
from ogmge.fit import Objective
from search.backend import autopack, costs, step_cost
from search.backend.cluster import own_cpus
from search.backend.resources import Resources
from search.backend.step_cost import Cost, UnknownSize, sizes_of
from search.backend.throughput import Packing
from search.commands import estimate
from search.dry_run.forecast import SLACK, STARTS, Forecast
from search.experiment.formatting import label
from search.experiment.load import load
from search.run.open_data import open_data
from search.tracking.client import RUN_BYTES
from tests.support.own_data import Broken, Vectors
from tests.support.pages import block
from tests.support.searches import DEMO, QUICK, own, search
from tests.support.tells import tells

SMALL = [*QUICK, "trial.encoder=mlp", "trial.modulation.parameters=all", "space.fusion=[concat,gated]"]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A dry run takes as many threads as a trial would."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows(text: str) -> dict[str, list[str]]:
    """The table's cells by the name of their row."""
    cells = [re.split(r"\s{3,}", line.strip()) for line in text.splitlines()]
    return {name: rest for name, *rest in cells if rest}


def cost(seconds: float = 1.0, peak: int = 0, last: int = 0, best: int = 0, metrics: int = 1) -> Cost:
    return Cost(1, 1, seconds, peak, last, best, metrics, TrialConfig())


# ---- the command ----


def test_the_demo_is_planned_and_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))
    result = search(DEMO, *SMALL, "search.budget.hours=2", "--dry-run")
    assert result.exit_code == 0, result.output
    found = rows(result.stdout)
    trials, arms = found["trials"]
    assert (trials, re.findall(r"\d+", arms)) == ("6", ["3", "3"])
    tells(arms, "3 modulated")
    at_most, expected = map(int, found["epochs"])
    assert at_most == 24
    assert 14 <= expected <= 24  # grace of 1: two of an arm stopped at once, or none
    assert found["at once"][0].isdecimal()
    assert {"wall time", "checkpoints", "MLflow"} < set(found)
    assert any("memory" in name for name in found)
    assert "GPU-hours" not in found
    assert found["budget"] == ["2 hours"]
    tells(result.stdout, "estimates", "2 configurations", "fusion=concat; fusion=gated")
    said = " ".join(result.stdout.split())
    assert re.search(r"\d+ steps", said)
    assert re.search(r"takes [\d.]+ times as long|keep up with all trials", said)
    tells(result.stdout, f"uv run run_search.py {DEMO}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["trial.epochs=two"], ["`trial.epochs`", "whole number", "'two'", "command line"]),
        (["search.resources.cpu=4096"], ["`search.resources.cpu`", "4096 CPU", f"{own_cpus()} CPU"]),
        (["space={}", "trial.epochs=2"], ["`space`", f"uv run python -m search train {DEMO} trial.epochs=2"]),
        (["dataset={name: tests.support.own_data:NotPrepared}"], ["~/data/stores/mine", "`python -m search prepare`"]),
        (["search.metric=val/acc"], ["`search.metric`", "val/accuracy, val/loss, val/accuracy/audio", "'val/acc'"]),
        (["--resume"], ["--dry-run", "--resume"]),
    ],
)
def test_a_mistake_gets_a_sentence(tmp_path, monkeypatch, arguments, facts):
    monkeypatch.chdir(tmp_path)
    result = search(DEMO, *arguments, "--dry-run")
    assert result.exit_code == 2
    tells(result.stderr, *facts)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_in_its_first_steps_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(own("Broken", tmp_path), "--dry-run")
    assert result.exit_code == 2
    tells(result.stderr, "`dataset`", "OSError: clip 17 is damaged")
    monkeypatch.setattr(Broken, "sizes", {"train": 9, "validation": 9}, raising=False)
    result = search(own("Broken", tmp_path), "--dry-run")
    assert result.exit_code == 2
    tells(result.stderr, "method=ogm fusion=concat", "OSError: clip 17 is damaged")
    assert "`dataset`" not in result.stderr


def test_the_page_on_searching_shows_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = search(DEMO, *SMALL, "confirm={seeds: 2}", "--dry-run")
    shown = rows(block("docs/search.md", "text", "wall time"))
    assert {"trials", "wall time"} < set(shown)
    assert set(shown) <= set(rows(result.stdout))


def test_cores_that_are_to_be_measured_are_measured_as_the_search_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))
    monkeypatch.setattr(estimate, "own_cpus", lambda: 2)
    rates = {
        Packing(1, Resources(2.0, 0)): 30.0,
        Packing(2, Resources(1.0, 0)): 40.0,
        Packing(1, Resources(1.0, 0)): 25.0,
    }
    monkeypatch.setattr(autopack.Crew, "rate", lambda crew, packing: rates[packing])
    result = search(DEMO, *SMALL, "search.resources={cpu: auto, gpu: auto}", "--dry-run")
    tells(result.stdout, "2 trials", "1 core", "1.3 times", autopack.FULL)  # 40 / 30
    at_once, room = rows(result.stdout)["at once"]
    assert at_once == "2"
    tells(room, "1 of 2 CPUs")
    tells(result.stdout, "1.2 times")  # as long an epoch: 2 x 25 / 40


# ---- what is measured ----


def test_a_measurement_is_of_the_trial_that_the_search_runs(tmp_path):
    """Checkpoints of the size, and as many values, as a trial of the search leaves."""
    experiment = load(Path(DEMO), [*SMALL, "trial.epochs=2", "trial.schedule.milestones=[1]"])
    data = open_data(experiment.dataset)
    found = step_cost.measure(experiment.trial, data, sizes_of(data), Objective(), torch.device("cpu"))
    epochs: list[dict[str, float]] = []
    fit.train(experiment.trial, data, epochs.append, folder=tmp_path)
    assert found.last_bytes == pytest.approx((tmp_path / "last.pt").stat().st_size, rel=0.02)
    assert found.best_bytes == pytest.approx((tmp_path / "best.pt").stat().st_size, rel=0.02)
    assert found.metrics == len(epochs[-1]) - 1
    assert 1 < found.train_steps <= step_cost.STEPS
    assert found.peak_bytes > 2**20
    assert found.epoch_seconds > 0


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_epoch_is_as_long_as_each_split_is(tmp_path, split):
    trial, data = load(Path(own("Vectors", tmp_path))).trial, Vectors()
    few = {"train": 96, "validation": 96}
    short, long = (
        step_cost.measure(trial, data, sizes, Objective(), torch.device("cpu")).epoch_seconds
        for sizes in (few, {**few, split: 96_000_000})
    )
    assert long > 1000 * short


def test_data_are_counted_unless_they_say_their_size(monkeypatch):
    assert sizes_of(Vectors(samples=70)) == {"train": 70, "validation": 70}
    demo = open_data({"name": "digits"})
    assert sizes_of(demo) == {"train": 2000, "validation": 800}
    monkeypatch.setattr(step_cost, "COUNT_SECONDS", -1.0)
    with pytest.raises(UnknownSize) as error:
        sizes_of(Vectors())
    tells(error.value, "-1 s", "`sizes`", "{'train': N, 'validation': N}")


@pytest.mark.parametrize(
    ("space", "seconds", "labels"),
    [
        ("{modulation.alpha: [0.1, 0.2]}", {}, [label({})]),
        ("{fusion: [concat, sum]}", {}, ["fusion=concat", "fusion=sum"]),
        (
            "{fusion: [concat, sum], batch_size: {low: 8, high: 64}}",
            {("sum", 8): 9.0, ("concat", 64): 8.0},
            [
                "fusion=concat batch_size=8",
                "fusion=sum batch_size=8",
                "fusion=concat batch_size=64",
                "fusion=sum batch_size=64",
            ],
        ),
    ],
)
def test_each_choice_that_weighs_is_measured_and_the_heaviest_together(monkeypatch, space, seconds, labels):
    def measured(trial, *others) -> Cost:
        return cost(seconds.get((trial.fusion, trial.batch_size), 1.0))

    monkeypatch.setattr(costs, "measure", measured)
    experiment = load(Path(DEMO), [f"space={space}"])
    assert list(costs.costs_of(experiment, Vectors(), torch.device("cpu"))) == labels


# ---- what is reckoned ----


def test_the_reckoning():
    costs = {"a": cost(1.0, 50, 10, 4, 6), "b": cost(3.0, 40, 30, 8, 8)}
    found = Forecast(
        {"baseline": 2, "modulated": 3}, {}, 100, 50.0, at_once=2, cpus=2, gpu=0.5, costs=costs, artifacts=True
    )
    assert (found.slowest, found.largest) == ("b", "a")
    assert found.epoch_seconds == (3.0, 2.0)
    assert found.training_seconds == (300.0, 100.0)
    assert found.wall_seconds == (SLACK * 300 / 2, 100 / 2)
    started = replace(found, start_seconds=4.0, longest=10)
    assert started.wall_seconds == (SLACK * (150 + 15) + 4 * STARTS[0], 50 + 4 * STARTS[1])
    assert found.checkpoint_bytes == (5 * 2 * 8 + 2 * 30, (5 * 2 * 4 + 2 * 10 + 5 * 2 * 8 + 2 * 30) / 2)
    alone = Forecast(
        {"baseline": 2, "modulated": 3}, {}, 100, 50.0, at_once=2, cpus=2, gpu=0.5, costs=costs, artifacts=False
    )
    assert alone.checkpoint_bytes[0] == 5 * 8 + 2 * 30
    assert found.mlflow_bytes[0] - found.mlflow_bytes[1] == 50 * 8 * 280
    assert replace(found, crowding=1.5).training_seconds == (450.0, 150.0)
    sure = replace(found, confirmation=(6, 4), longest=10)
    assert sure.training_seconds == (3.0 * (100 + 60), 2.0 * (50 + 40))
    assert sure.wall_seconds[0] == SLACK * (3.0 * 160 / 2 + 2 * 15)
    assert sure.checkpoint_bytes[0] - found.checkpoint_bytes[0] == 6 * 8
    assert sure.mlflow_bytes[0] - found.mlflow_bytes[0] == 6 * RUN_BYTES + 60 * 8 * 280


def test_the_wall_time_of_the_demo_holds_for_its_own_record(monkeypatch):
    """`python -m benchmarks.forecast` wrote what a dry run measured, and how long the demo then took."""
    there = json.loads(RECORD.read_text())
    measured = {name: cost(seconds) for name, seconds in there["epoch_seconds"].items()}
    monkeypatch.setattr(estimate, "costs_of", lambda *_: measured)
    monkeypatch.setattr(estimate, "crowding_of", lambda *_: there["crowding"])
    monkeypatch.setattr(estimate, "worker_start_seconds", lambda: there["start_seconds"])
    monkeypatch.setattr(estimate, "trials_at_once", lambda *_: there["at_once"])
    most, expected = estimate.forecast(load(Path(DEMO)), open_data({"name": "digits"})).wall_seconds
    assert expected < most
    assert there["seconds"] <= most
    assert there["seconds"] == pytest.approx(expected, rel=0.25)


def test_without_early_stopping_all_is_expected(monkeypatch):
    monkeypatch.setattr(estimate, "costs_of", lambda *_: {"a": cost()})
    monkeypatch.setattr(estimate, "crowding_of", lambda *_: 1.0)
    monkeypatch.setattr(estimate, "worker_start_seconds", lambda: 1.0)
    found = estimate.forecast(load(Path(DEMO), ["search.scheduler.name=none"]), Vectors())
    assert found.epochs_expected == found.epochs_at_most == 288
    stopped = estimate.forecast(load(Path(DEMO)), Vectors())
    assert 200 < stopped.epochs_expected < 240
    assert (stopped.confirmation, stopped.longest) == ((18, 12), 12)
