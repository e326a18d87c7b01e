"""Shared prefixes in real Ray workers: the results equal those of a search without sharing."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from ogmge import checkpoint
from search.run.journal import Journal
from tests.support.searches import ONE_WORKER, children, search
from tests.support.states import without
from tests.support.tells import tells

GRID = """
name: {name}
dataset: {{name: tests.support.own_data:{kind}}}
trial:
  epochs: 6
  batch_size: 32
  encoder: mlp
  modulation: {{method: ogm_ge, alpha: 0.5, end: 5, parameters: all}}
  optimizer: {{lr: 0.1}}
space:
  modulation.alpha: [0.2, 0.9]
  modulation.start: [0, 1, 3]
  modulation.end: [3, 5]
search: {{trials: 40, sampler: grid, scheduler: {{name: none}}}}
"""


def bound() -> int:
    """Return the number of distinct epochs, judged by their settings and those of all epochs before."""
    runs = [[a if s <= epoch <= e else 0 for epoch in range(6)] for a, s, e in product([0.2, 0.9], [0, 1, 3], [3, 5])]
    return len({tuple(run[:length]) for run in [*runs, [0] * 6] for length in range(1, 7)})


def result(tune: Path) -> dict[str, tuple[list[dict[str, float]], dict[str, torch.Tensor]]]:
    """Return the metrics of all epochs and the best weights of each configuration."""
    found = {}
    for trial in Journal(tune / "journal.jsonl").replay():
        said = without(trial.epochs, ("seconds", "inherited"))
        found[repr(trial.changes)] = said, checkpoint.load(tune / f"{trial.number:04d}" / "best.pt")["model"]
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("ray_instance")
def test_a_shared_search_gives_what_one_without_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch is trained once, although one of the workers is killed."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("shared", "Deadly"), ("alone", "Vectors")):
        (tmp_path / f"{name}.yaml").write_text(GRID.format(name=name, kind=kind))
    done = search("shared.yaml", f"dataset.marker={tmp_path / 'killed'}")
    assert done.exit_code == 0, done.output
    assert search("alone.yaml", "search.share_prefixes=false", ONE_WORKER).exit_code == 0
    shared, alone = (result(tmp_path / "runs" / name / "tune") for name in ("shared", "alone"))
    assert shared.keys() == alone.keys()
    for changes, (said, weights) in shared.items():
        assert said == alone[changes][0]
        assert all(torch.equal(weights[name], other) for name, other in alone[changes][1].items())
    spent = Journal(tmp_path / "runs/shared/tune/journal.jsonl").replay().spent
    assert (tmp_path / "killed").exists()
    assert (spent.epochs, spent.inherited_epochs) == (bound(), 13 * 6 - bound())
    tells(done.output, "78 epochs", f"{bound()} trained", 78 - bound())
    assert not (tmp_path / "runs/shared/tune/prefixes").exists()
    parent, trials, client = children(tmp_path, "shared")
    assert parent.data.metrics["saved/epochs"] == spent.inherited_epochs
    assert sum(int(run.data.tags.get("inherited_epochs", 0)) for run in trials) == spent.inherited_epochs
    for run in trials:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == list(range(6))
        assert "inherited" not in run.data.metrics
