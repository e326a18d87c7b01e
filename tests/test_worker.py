"""What a worker holds a trial to, and what it takes for a lack of memory."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ogmge.config import Modulation, TrialConfig
from ogmge.trainable import VALIDATION_ACCURACY
from search.execution import worker
from search.execution.device import device_for
from search.execution.ray_tune import _Decisions
from search.execution.worker import Setup, out_of_memory
from search.folder import trial_folder
from search.sharing.sharing import Order
from search.storage import Storage
from tests.test_session import opened


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
        (2.0, True, "cuda", 1.0),  # of each
        (0.25, False, "cpu", None),
        (0.0, True, "cpu", None),
    ],
)
def test_a_trial_is_held_to_its_share_of_a_gpus_memory(threads, monkeypatch, gpu, there, device, fraction):
    """Ray divides the number of GPUs, not their memory."""
    held = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", held.append)
    assert device_for(1, gpu) == torch.device(device)
    assert held == ([] if fraction is None else [fraction])


def test_memory_that_no_machine_has_is_known_for_what_it_is():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert out_of_memory(error.value)


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
    assert out_of_memory(error) is expected


def test_what_a_worker_warns_of_goes_along_with_its_reports_and_is_told_of_the_trial(
    threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A checkpoint that cannot be read: the trial begins again."""
    reports: list[dict] = []
    monkeypatch.setattr(worker.tune, "report", reports.append)
    folder = trial_folder(tmp_path, 0)
    folder.mkdir()
    (folder / "last.pt").write_bytes(b"damaged")
    trial = TrialConfig(epochs=2, batch_size=32, encoder="mlp", modulation=Modulation(parameters="all"))
    dataset = {"name": "tests.own_data:Vectors", "samples": 32}
    setup = Setup(dataset, VALIDATION_ACCURACY, tmp_path, None, Storage(str(tmp_path)))
    order = {"sharing": asdict(Order()), "dataset": {}}
    worker.run_trial({"number": 0, "trial": asdict(trial), "cpu": 1.0, "gpu": 0.0, **order}, setup)
    first, second = reports
    [said] = first["notes"]
    assert "last.pt cannot be read as a checkpoint" in said
    assert said.endswith("the trial begins again")
    assert second["notes"] == []

    session = opened(tmp_path / "journal.jsonl")
    session.started(session.next().number)
    with caplog.at_level(logging.WARNING, "search"):
        _Decisions(session, []).on_trial_result(None, SimpleNamespace(config={"number": 0, "gpu": 0.0}), first)
    assert caplog.messages[-1] == f"trial 0: {said}"
