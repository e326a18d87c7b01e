"""Names and texts of users in MLflow, whatever they contain."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_length_limit, _validate_metric_name, _validate_tag

from search.tracking.client import TrainingData, connect
from search.tracking.maker import Maker
from search.tracking.names import NAME_LENGTH, PARAMETER_LENGTH, TAG_LENGTH, as_name, as_tags, as_text
from search.tracking.run_writer import RunWriter, Values

GOOD = ["audio", "val/accuracy/audio 2", "a.b-c_d:e", "été/漢字", "x" * NAME_LENGTH, "a/..b", " "]
ODD = [
    *(
        "rgb+flow",
        "rgb-flow+",
        "audio (left)",
        "audio [left]",
        "50%",
        "a%2Fb",
        "a#b",
        "a?b&c=d",
        "a;b",
        "it's",
        'say "a"',
    ),
    *("", ".", "..", "...", "..a", "/a", "a/", "a//b", "a/./b", "a/../b", "../../a", "/", "//"),
    *(
        "a\nb",
        "a\n",
        "\n",
        "\t",
        "a\0b",
        "\udce9",
        "\U0001f3a7",
        "\u200b",
        "a\\b",
        'say "a"',
        "<b>",
        "{x}",
        "$HOME",
        "*",
        "~",
    ),
    *("x" * 251, "x" * 250 + "y", "x" * 240 + "/../" + "y" * 9, "漢" * 400, "+" * 300, "/" * 300),
]


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_a_name_that_mlflow_accepts_stays(name):
    _validate_metric_name(name)
    assert as_name(name) == name


@pytest.mark.parametrize("name", ODD, ids=lambda name: ascii(name)[:30])
@pytest.mark.parametrize("prefix", ["", "train/accuracy/"])
def test_any_other_name_becomes_one_that_mlflow_accepts(prefix, name):
    found = as_name(prefix + name)
    _validate_metric_name(found)
    _validate_length_limit("name", 250, found)
    assert as_name(found) == found
    if len(name) <= 200:
        assert found.startswith(prefix)  # so that MLflow's page keeps it in its section


def test_names_that_differ_stay_distinct():
    names = {*GOOD, *ODD}
    assert len({as_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("text", ["x" * 9000, "é" * 9000, "a\udce9b", "a\0b", "\ud800" * 9000, "line\nline"], ids=len)
def test_a_text_is_cut_and_can_be_encoded(text):
    [(name, found)] = as_tags({"a+b": text}).items()
    _validate_tag(name, found)
    assert len(found) == min(len(text), TAG_LENGTH)
    assert "\0" not in found.encode().decode()
    assert as_text("plain", 9) == "plain"


def test_a_run_with_odd_names_has_all_its_values_and_ends(tmp_path):
    client, experiment_id = connect(None, tmp_path, "odd")
    run_id = Maker(client, experiment_id).make("", "name " * 90, {"kind+": "a\udce9"})
    params = {f"encoder.{name}": name * 9 for name in ODD}
    data = TrainingData({"name": "n" * 900, "options": {"a+b": "\udce9", "long": "x" * 90_000}}, "f1n9e2")
    writer = RunWriter(client, run_id, data, params)
    writer.add([Values(epoch, 1, {f"val/{name}": float(epoch) for name in ODD}) for epoch in range(3)])
    writer.end("FINISHED", {f"tag {name}": name * 9 for name in ODD})
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {as_name(f"val/{name}"): 2.0 for name in ODD}
    assert run.data.params == {as_name(f"encoder.{name}"): as_text(name * 9, PARAMETER_LENGTH) for name in ODD}
    assert run.data.tags[as_name("kind+")] == "a?"
    assert run.data.tags[as_name("tag rgb+flow")] == "rgb+flow" * 9
    [shown] = run.inputs.dataset_inputs
    assert len(shown.dataset.name) == 500


FOLDERS = [
    *("a b", "50%", "a%2Fb", "%23 #", "a?b=c&d+e", 'it\'s "a"', "[a]* été 漢字", "-x", "a\nb", "a\\b {x} $HOME ~"),
    *("a :b;c@d", ":memory:", "file:", "..."),
]


@pytest.mark.parametrize(
    ("name", "uri"), [*((name, None) for name in FOLDERS), ('it\'s "a%2Fb" #?', "sqlite:///own.db?timeout=20")]
)
def test_a_folder_of_any_name_has_its_own_store_and_files(tmp_path: Path, monkeypatch, name, uri):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    client, experiment_id = connect(uri, Path("runs"), "t")
    run_id = client.create_run(experiment_id).info.run_id
    Path("f#%2F?.txt").write_text("x")
    client.log_artifact(run_id, "f#%2F?.txt")
    assert [file.path for file in client.list_artifacts(run_id)] == ["f#%2F?.txt"]
    store, files = ("runs/mlflow.db", "runs/mlartifacts") if uri is None else ("own.db", "mlruns")
    assert Path(store).stat().st_size
    assert Path(files, run_id, "artifacts", "f#%2F?.txt").read_text() == "x"
    assert list(tmp_path.iterdir()) == [folder]  # nothing beside it, under a name decoded or quoted
    assert {file.name for file in folder.iterdir()} <= {"runs", "own.db", ".own.lock", "mlruns", "f#%2F?.txt"}
