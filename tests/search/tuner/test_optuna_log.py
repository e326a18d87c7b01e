"""Both studies as Optuna's own reader opens them."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.experiment.arms import ARMS
from search.run.journal import read
from tests.support.pages import block
from tests.support.searches import command


def studies_in(path: Path) -> dict[str, optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return {arm: optuna.load_study(study_name=f"own-{arm}", storage=storage) for arm in ARMS}


@pytest.fixture
def exported(searched, monkeypatch, tmp_path):
    monkeypatch.chdir(searched[0])
    path = tmp_path / "studies.log"
    result = command("export", "own", "--optuna", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert [file.name for file in tmp_path.iterdir()] == ["studies.log"]  # neither a lock nor a temporary file
    return read(Path("runs/own/tune/journal.jsonl")), studies_in(path)


def test_optuna_reads_both_studies_as_the_journal_has_them(exported):
    record, studies = exported
    states = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    for arm, study in studies.items():
        trials = [trial for trial in record if trial.arm == arm]
        assert [t.user_attrs["trial"] for t in study.trials] == [trial.number for trial in trials]
        for frozen, trial in zip(study.trials, trials, strict=True):
            assert frozen.state.name == states[trial.status]
            assert frozen.intermediate_values == {int(m["epoch"]): m["val/accuracy"] for m in trial.epochs}
            assert frozen.params.items() >= trial.changes.items() - {("modulation.method", "none")}
            assert frozen.value == trial.best or trial.status != "finished"
        assert study.direction.name == "MAXIMIZE"
        assert study.metric_names == ["val/accuracy"]


def test_settings_have_the_distributions_of_the_space(exported):
    _, studies = exported
    found = studies["modulated"].trials[0].distributions
    assert found["fusion"] == CategoricalDistribution(["concat", "sum"])
    assert found["optimizer.lr"] == CategoricalDistribution([1e-3, 1e-2])
    assert isinstance(found["modulation.start"], IntDistribution)


def test_the_example_of_the_page_prints_the_best_settings(searched, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(searched[0])
    path = tmp_path / "studies.log"
    assert command("export", "own", "--optuna", "-o", str(path)).exit_code == 0
    code = block("docs/optuna.md", "python", "load_study")
    exec(code.replace("runs/demo/optuna.log", str(path)).replace("demo-", "own-"), {})
    assert "optimizer.lr" in capsys.readouterr().out


def test_all_trials_are_exported_or_one(searched, monkeypatch):
    monkeypatch.chdir(searched[0])
    assert command("export", "own", "--optuna", "--trial", "1").exit_code == 2
