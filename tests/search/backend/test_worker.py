"""Workers: limits on a trial's resources, errors that mean a lack of memory, and warnings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from ogmge.fit import VALIDATION_ACCURACY
from search.backend import tune
from search.backend.device import device_for, is_out_of_memory
from search.backend.resources import Resources
from search.backend.worker import Setup
from search.experiment.load import load
from search.run.checkpoints import Storage
from search.run.folder import trial_folder
from search.run.journal import Journal
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.support.searches import own
from tests.support.tells import tells


@pytest.fixture
def threads() -> None:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cpu", "expected"), [(0.25, 1), (1, 1), (1.9, 1), (2, 2), (4, 4)])
def test_a_trial_has_as_many_threads_as_whole_cores(threads, cpu, expected):
    assert device_for(cpu, 0) == torch.device("cpu")
    assert torch.get_num_threads() == expected


@pytest.mark.parametrize(
    ("gpu", "there", "device", "fraction"),
    [
        (0.25, True, "cuda", 0.25),
        (1.0, True, "cuda", 1.0),
        (2.0, True, "cuda", 1.0),  # all of each GPU
        (0.25, False, "cpu", None),
        (0.0, True, "cpu", None),
    ],
)
def test_a_trial_is_held_to_its_share_of_a_gpus_memory(threads, monkeypatch, gpu, there, device, fraction):
    """Ray only divides the number of GPUs, not their memory."""
    held = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", held.append)
    assert device_for(1, gpu) == torch.device(device)
    assert held == ([] if fraction is None else [fraction])


def test_memory_that_no_machine_has_is_known_for_what_it_is():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_only_a_lack_of_memory_is_one(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_worker_s_warning_is_told_of_its_trial(ray_instance: None, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """If a checkpoint is corrupt, the trial starts again."""
    experiment = load(Path(own("Vectors", tmp_path)), ["search.trials=2"])
    journal = Journal(tmp_path / "journal.jsonl")
    tuner = Tuner(experiment, journal, SearchPolicy(experiment))
    folder = trial_folder(tmp_path, 0)
    folder.mkdir()
    (folder / "last.pt").write_bytes(b"damaged")
    setup = Setup(experiment.dataset, VALIDATION_ACCURACY, tmp_path, None, Storage(str(tmp_path)))
    with caplog.at_level(logging.WARNING, "search"):
        tune.run(tuner, setup, [Resources(1, 0)], at_once=1)
    journal.close()
    [told] = caplog.messages
    tells(told, "trial 0", folder / "last.pt", "checkpoint")
    assert [metrics["epoch"] for metrics in tuner.record.trials[0].epochs] == [0, 1, 2]
