"""A search in a folder and with modalities of any name, whose run in MLflow is deleted before it is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.tracking.client import read_run_id, store_uri
from search.tracking.names import as_name
from tests.support.searches import ONE_WORKER, own, said, search

FOLDER = '50%2F #1?a&b=c;[d]*{e} it\'s "f" $HOME ü漢\\ -x'
NAMES = ("rgb+flow", "audio (left)")


@pytest.mark.slow
@pytest.mark.longer
def test_a_search_and_its_resume_have_all_of_it_in_mlflow(tmp_path, monkeypatch):
    import mlflow

    folder = tmp_path / FOLDER
    folder.mkdir()
    monkeypatch.chdir(folder)
    shapes = "{" + ", ".join(f'"{name}": [{width}]' for name, width in zip(NAMES, (6, 4), strict=True)) + "}"
    words = [own("Vectors", folder), f"dataset.shapes={shapes}", ONE_WORKER]
    for trials in (2, 4):
        result = search(*words, f"search.trials={trials}", *(["--resume"] if trials > 2 else []))
        assert result.exit_code == 0, result.output
        assert "lacks" not in said(result)
        client = mlflow.MlflowClient(store_uri(None, Path("runs")))
        parent = client.get_run(read_run_id(Path("runs/own")))
        runs = client.search_runs([parent.info.experiment_id])
        assert sorted(run.data.tags["kind"] for run in runs) == ["search", *["trial"] * trials]
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            if run.data.tags["kind"] == "trial":
                assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
                assert {as_name(f"val/accuracy/{name}") for name in NAMES} <= set(run.data.metrics)
            assert client.list_artifacts(run.info.run_id)
        client.delete_run(parent.info.run_id)
    assert list(tmp_path.iterdir()) == [folder]
