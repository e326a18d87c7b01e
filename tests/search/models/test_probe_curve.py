"""Linear probes over the epochs: from a journal to lines, a file and a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from PIL import Image

from search.experiment.arms import ARMS
from search.models.probe_curve import (
    ProbeCurveError,
    ProbeCurves,
    curve_file,
    describe_lines,
    failure_notes,
    probe_curves,
    read_curves,
    write_curves,
)
from search.models.probe_curve_plot import draw_curves
from search.run.causes import failure
from search.run.folder import RunFolder
from search.run.journal import Journal
from search.run.probed_epochs import is_probed
from search.run.trials import SearchRecord
from search.run.version import VersionError
from search.tuner.tuner import Tuner
from search.verdict.probe_policy import ProbePolicy, probed_of
from tests.support.tells import tells
from tests.wording.laid_out import SEARCH, experiment

EPOCHS, EVERY = 5, 2
POINTS = (2, 4, 5)
FAILED = 6  # the second seed's training of the audio alone


def policy(seeds: int) -> ProbePolicy:
    asked = experiment(SEARCH, f"trial.epochs={EPOCHS}")
    return ProbePolicy(asked, {arm: {} for arm in ARMS}, ["audio", "visual"], [11, 22, 33][:seeds])


def accuracy(number: int, epoch: int, modality: str | None) -> float:
    return 0.3 + 0.01 * number + 0.05 * epoch + 0.1 * len(modality or "")


def trained(folder: Path, seeds: int) -> SearchRecord:
    """What trainings leave of which one failed; probes have made-up accuracies."""
    asked = policy(seeds)
    tuner = Tuner(asked.experiment, Journal(folder / "journal.jsonl"), asked)
    while (trial := tuner.next()) is not None:
        number, alone = trial.number, probed_of(trial).modality
        for epoch in range(EPOCHS if number != FAILED else 1):
            metrics = {"epoch": epoch, "best": 0.5, "val/accuracy": accuracy(number, epoch, None)}
            if is_probed(epoch + 1, EVERY, EPOCHS):
                names = [alone] if alone else asked.modalities
                metrics |= {f"probe/{name}": accuracy(number, epoch, name) for name in names}
            tuner.record_epoch(number, metrics)
        if number == FAILED:
            tuner.record_end(number, "failed", failure("NonFiniteLoss: too fast"))
        else:
            tuner.record_end(number, "finished")
    return tuner.record


def curves(folder: Path, seeds: int = 3, of: int = 3) -> ProbeCurves:
    return probe_curves(trained(folder, of), policy(seeds), EVERY)


def test_lines_are_of_the_probed_epochs_of_each_seed(tmp_path):
    found = curves(tmp_path)
    assert {name: [line.role for line in lines] for name, lines in found.panels.items()} == {
        "audio": ["modulated", "baseline", "alone"],
        "visual": ["modulated", "baseline", "alone"],
        None: ["modulated", "baseline"],
    }
    place = {"modulated": 0, "baseline": 1}
    for line in found.lines:
        first = place.get(line.role, 2 if line.modality == "audio" else 3)
        numbers = [n for n in (first, first + 4, first + 8) if n != FAILED]
        assert line.epochs == POINTS
        assert line.values == tuple(tuple(accuracy(n, e - 1, line.modality) for e in POINTS) for n in numbers)
        assert [(s.mean, s.sd) for s in line.spreads] == [(fmean(p), stdev(p)) for p in zip(*line.values, strict=True)]


def test_a_training_that_failed_is_told_and_no_part_of_its_line(tmp_path):
    record = trained(tmp_path, 3)
    found = probe_curves(record, policy(3), EVERY)
    seeds = {(line.role, line.modality): line.seeds for line in found.lines}
    assert seeds.pop(("alone", "audio")) == (11, 33)
    assert set(seeds.values()) == {(11, 22, 33)}
    [note] = failure_notes(record, policy(3))
    tells(note, "probe 01 audio alone", 22, "NonFiniteLoss: too fast")
    assert failure_notes(record, policy(1)) == []


def test_fewer_seeds_are_the_first_ones(tmp_path):
    found = curves(tmp_path, seeds=1)
    assert {line.seeds for line in found.lines} == {(11,)}
    assert {spread.sd for line in found.lines for spread in line.spreads} == {None}
    tells(describe_lines(found), "one seed")


def test_what_is_written_is_read_again(tmp_path):
    found, folder = curves(tmp_path), RunFolder(tmp_path)
    assert read_curves(folder) is None
    folder.probe_curve.path.mkdir()
    write_curves(folder, found)
    assert read_curves(folder) == found
    text = curve_file(folder).read_text()
    for damage in (text[:-9], text.replace('"lines"', '"loins"'), "[]"):
        curve_file(folder).write_text(damage)
        with pytest.raises(ProbeCurveError) as error:
            read_curves(folder)
        tells(error.value, curve_file(folder), f"python -m search probe {tmp_path.name} --curve")
    curve_file(folder).write_text('{"version": 99}')
    with pytest.raises(VersionError):
        read_curves(folder)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_picture_has_a_panel_for_each_modality_and_one_for_all_together(tmp_path, seeds):
    found = curves(tmp_path, seeds)
    joint = tuple(line for line in found.lines if line.modality is None)
    sizes = []
    for lines in (found.lines, joint):
        draw_curves(replace(found, lines=lines), tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as picture:
            sizes.append(picture.size)
    assert [round((width / 150 - 1) / 4) for width, _ in sizes] == [3, 1]
