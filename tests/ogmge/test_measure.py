"""Measuring after each epoch does not change a run, and no measurement is lost when the run stops and resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ogmge import checkpoint, inference
from ogmge.config import Modulation, TrialConfig
from ogmge.fit import train, train_and_measure
from ogmge.inference import TrainedModel
from ogmge.linear_probe import extract_features, fit, probe_accuracies, right
from tests.ogmge.test_fit_resume import CONFIG, DATA
from tests.support.states import same, without

CPU = torch.device("cpu")
FILM = replace(CONFIG, fusion="film")
ALONE = replace(CONFIG, modalities=("audio",), modulation=Modulation("none"))


class Stopped(Exception):
    """Error that stops a run during a measurement."""


class Measure:
    """Measurement that probes, does everything that could disturb a run, and stops it once.

    Args:
        stop: epoch at which it raises `Stopped`, once.
    """

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.modes: list[bool] = []

    def __call__(self, model: TrainedModel) -> Mapping[str, float]:
        self.modes.append(any(module.training for module in model.model.modules()))
        torch.manual_seed(0)
        torch.rand(7)
        if model.metrics["epoch"] == self.stop:
            raise Stopped
        return {f"probe/{name}": value for name, value in probe_accuracies(model, DATA, CPU).items()}


def plain(config: TrialConfig, folder: Path) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []
    train(config, DATA, reports.append, folder=folder)
    return without(reports)


def measured(config: TrialConfig, folder: Path, measure: Measure) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []
    train_and_measure(config, DATA, reports.append, measure, folder=folder)
    return without(reports)


def without_probes(reports: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: v for name, v in metrics.items() if not name.startswith("probe/")} for metrics in reports]


@pytest.mark.parametrize("config", [CONFIG, FILM, ALONE], ids=["concat", "film", "alone"])
def test_probes_do_not_change_the_training(tmp_path, config):
    measure = Measure()
    found, expected = measured(config, tmp_path / "measured", measure), plain(config, tmp_path / "plain")
    assert without_probes(found) == expected
    assert [sorted(n for n in m if n.startswith("probe/")) for m in found] == [
        [f"probe/{name}" for name in config.modalities or ("audio", "visual")]
    ] * config.epochs
    states = [checkpoint.load(tmp_path / name / "last.pt")["trainer"] for name in ("measured", "plain")]
    assert same(*states)
    assert measure.modes == [False] * config.epochs


@pytest.mark.parametrize("stop", [0, 2])
def test_an_epoch_whose_measure_is_lost_is_trained_again(tmp_path, stop):
    whole = measured(CONFIG, tmp_path / "whole", Measure())
    with pytest.raises(Stopped):
        measured(CONFIG, tmp_path / "stopped", Measure(stop))
    again = measured(CONFIG, tmp_path / "stopped", Measure())
    assert again == whole


def test_probe_accuracies_are_those_of_probes_on_the_same_pass(tmp_path):
    reports = measured(CONFIG, tmp_path, Measure())
    model = inference.load(tmp_path / "best.pt")
    [features], y = extract_features([model], DATA.train(batch_size=8, seed=0, epoch=0), CPU)
    [held], target = extract_features([model], DATA.validation(batch_size=8), CPU)
    probes = {name: fit(value, y, 3) for name, value in features.items()}
    epoch = int(model.metrics["epoch"])
    for name, answers in right(model, probes, held, target).probed.items():
        assert reports[epoch][f"probe/{name}"] == float(answers.double().mean())
