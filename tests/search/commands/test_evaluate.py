"""`python -m search evaluate`: trained models, real checkpoints, and errors of users."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from ogmge import checkpoint, fit
from search.cli.main import main
from search.experiment.load import load
from search.experiment.schema import as_values, to_yaml
from search.run.folder import RunFolder, identify, write
from search.run.journal import Journal
from search.run.open_data import open_data
from tests.support.own_data import WithTest
from tests.support.tells import tells

EXPERIMENT = """
name: {name}
dataset: {{name: tests.support.own_data:WithTest, samples: 90}}
trial:
  epochs: 2
  batch_size: 16
  encoder: mlp
  modulation: {{method: {method}, alpha: 0.5, parameters: all}}
  optimizer: {{lr: 0.02}}
"""


def train(folder: Path, name: str, *assignments: str, method: str = "ogm", into: str = "") -> None:
    """Train a model in runs/NAME, or in a folder below it."""
    run = folder / "runs" / name
    run.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(EXPERIMENT.format(name=name, method=method))
    if not into:
        write(run / "experiment.yaml", to_yaml(as_values(load(folder / f"{name}.yaml", assignments))))
    experiment = load(folder / f"{name}.yaml", assignments)
    fit.train(experiment.trial, open_data(experiment.dataset), lambda metrics: None, folder=run / into)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with runs/modulated and runs/plain."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, "modulated")
    train(folder, "plain", method="none")
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy of `trained` as the working folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


MINUTE = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def readings(run: Path) -> list[str]:
    file = RunFolder(run).readings
    return [json.loads(line)["reason"] for line in file.read_text().splitlines()] if file.exists() else []


def metrics_of(file: Path) -> dict[str, float]:
    return checkpoint.load(file)["metrics"]


def assert_of_its_best_epoch(values: dict[str, Any], file: Path) -> None:
    """Return whether an evaluation on the validation split agrees with the training."""
    metrics = metrics_of(file)
    assert values["fused"]["accuracy"] == pytest.approx(metrics["val/accuracy"])
    for name in ("left", "right"):
        assert values["unimodal"][name]["accuracy"] == pytest.approx(metrics[f"val/accuracy/{name}"])
    assert values["epoch"] == metrics["epoch"]


def test_the_validation_split_gives_what_training_found_and_no_reading_of_the_test_split(place):
    run = place / "runs" / "modulated"
    text = said(evaluate("modulated", "--split", "validation"))
    assert_of_its_best_epoch(found(run), run / "best.pt")
    [note] = found(run)["notes"]  # the split chose the epoch
    tells(text, note)
    assert (found(run)["split"], found(run)["read"], found(run)["examples"]) == ("validation", None, 90)
    assert not readings(run)


def test_the_test_split_is_the_default_and_a_second_reading_is_said_aloud(place):
    run = place / "runs" / "modulated"
    reading = "evaluate runs/modulated/best.pt"
    assert "has read" not in said(evaluate("modulated"))
    assert (found(run)["split"], found(run)["notes"]) == ("test", [])
    assert readings(run) == [reading]
    assert re.search(rf"modulated has read the test split once \({MINUTE}\)", said(evaluate("modulated")))
    assert len(readings(run)) == 2
    text = said(evaluate("modulated"))
    assert re.search(rf"modulated has read the test split 2 times \(last {MINUTE}\)", text)
    assert text.count("has read") == 1


def test_its_numbers_are_those_of_the_models_own_answers(place):
    run = place / "runs" / "modulated"
    text = said(evaluate("modulated"))
    values = found(run)
    config = load(run / "experiment.yaml").trial
    trainer = fit.start(config, WithTest(samples=90), torch.device("cpu"))
    trainer.model.load_state_dict(checkpoint.load(run / "best.pt")["model"])
    metrics, (correct, _) = trainer.evaluate(WithTest(samples=90).test(batch_size=16, reason="a test"), "test")
    assert values["fused"]["accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert values["unimodal"]["left"]["accuracy"] == pytest.approx(metrics["test/accuracy/left"])
    y = torch.cat([y for _, y in WithTest(samples=90).test(batch_size=16, reason="a test")])
    for k, row in enumerate(values["classes"]):
        assert (row["name"], row["examples"]) == ("abc"[k], int((y == k).sum()))
        assert row["accuracy"] == pytest.approx(float(correct[y == k].double().mean()))
    assert sum(pair["count"] for pair in values["confusions"]) == int((~correct).sum())
    assert f"{100 * values['fused']['accuracy']:.1f} %" in text
    assert f"{values['unimodal']['right']['mean_average_precision']:.4f}" in text


def test_the_tables_hold_what_the_document_does(place):
    run = place / "runs" / "modulated"
    assert evaluate("modulated", "-o", "made/out").exit_code == 0
    values = found(place / "made" / "out")
    assert not (run / "evaluation.json").exists()
    leads = {led["class"]: name for name, every in values["leads"].items() for led in every}
    table = rows(place / "made" / "out" / "classes.csv")
    for row, expected in zip(table, values["classes"], strict=True):
        assert (row["class"], int(row["examples"])) == (expected["name"], expected["examples"])
        assert row["leads"] == leads.get(row["class"], "")
        for metric in ("accuracy", "average_precision"):
            assert float(row[metric]) == expected[metric]
            assert float(row[f"{metric}/right"]) == expected["unimodal"]["right"][metric]
    pairs = [
        {"true": r["true"], "predicted": r["predicted"], "count": int(r["count"])}
        for r in rows(place / "made" / "out" / "confusions.csv")
    ]
    assert pairs == values["confusions"]
    assert pairs


def test_two_models_are_compared_class_by_class(place):
    separately = {}
    for name in ("modulated", "plain"):
        assert evaluate(name, "-o", name).exit_code == 0
        separately[name] = {row["class"]: row for row in rows(place / name / "classes.csv")}
    text = said(evaluate("modulated", "--against", "plain", "-o", "both"))
    tells(text, "runs/modulated/best.pt", "modulation ogm", "against runs/plain/best.pt", "modulation none")
    [note] = found(place / "both")["notes"]
    tells(note, "`python -m search confirm`")
    tells(text, note)
    changes = found(place / "both")["against"]["changes"]
    for view, path in ((changes["fused"], "accuracy"), (changes["unimodal"]["left"], "accuracy/left")):
        sizes = [abs(c["change"]) for c in view]
        assert sizes == sorted(sizes, reverse=True)
        assert len(view) == 3
        for change in view:
            one, other = (float(separately[name][change["class"]][path]) for name in ("modulated", "plain"))
            assert change["change"] == pytest.approx(one - other)
    table = {row["class"]: float(row["change/accuracy"]) for row in rows(place / "both" / "classes.csv")}
    assert table == {change["class"]: change["change"] for change in changes["fused"]}
    assert any(table.values())
    # both have read the test split, and both readings are reported
    for name in ("modulated", "plain"):
        assert re.search(rf"{name} has read the test split once \({MINUTE}\)", text)
        assert readings(place / "runs" / name)[0] == f"evaluate runs/{name}/best.pt"
        assert readings(place / "runs" / name)[1] == "evaluate runs/modulated/best.pt against runs/plain/best.pt"


def test_a_log_entry_that_is_corrupt_counts_as_a_reading(place):
    RunFolder(place / "runs" / "modulated").readings.write_text("{}\n")
    tells(said(evaluate("modulated")), "modulated has read the test split once (time unknown)")


def test_classes_without_an_example_are_left_out_and_said(place):
    only = "dataset.test_classes=[0,2]"
    text = said(evaluate("modulated", only, "--against", "plain"))
    tells(text, "1 of 3", "(b)")
    values = found(place / "runs" / "modulated")
    assert values["without_examples"] == ["b"]
    there = [row for row in values["classes"] if row["name"] != "b"]
    assert values["fused"]["macro_accuracy"] == pytest.approx(sum(row["accuracy"] for row in there) / 2)
    assert values["classes"][1]["accuracy"] is None
    assert {change["class"] for change in values["against"]["changes"]["fused"]} == {"a", "c"}
    row = rows(place / "runs" / "modulated" / "classes.csv")[1]
    assert (row["examples"], row["accuracy"], row["change/accuracy"]) == ("0", "", "")


def moved(place: Path, file: str) -> Path:
    """Copy of the checkpoint of runs/modulated outside of its run."""
    path = place / file
    path.parent.mkdir(parents=True, exist_ok=True)
    (place / "runs" / "modulated" / "best.pt").replace(path)
    return path


@pytest.mark.parametrize(
    ("file", "asked", "where"),
    [
        ("runs/modulated/best.pt", "runs/modulated", "runs/modulated"),
        ("runs/modulated/best.pt", "runs/modulated/best.pt", "runs/modulated"),
        ("runs/modulated/best.pt", "{place}/runs/modulated/best.pt", "runs/modulated"),
        ("runs/modulated/tune/0003/best.pt", "runs/modulated/tune/0003/best.pt", "runs/modulated/tune/0003"),
        ("runs/modulated/tune/0003/best.pt", "runs/modulated/tune/0003", "runs/modulated/tune/0003"),
    ],
)
def test_a_model_is_found_by_its_folder_or_file_and_its_data_by_its_runs(place, file, asked, where):
    moved(place, file)
    said(evaluate(asked.format(place=place)))
    assert found(place / where)["dataset"]["samples"] == 90
    assert len(readings(place / "runs" / "modulated")) == 1


def test_a_file_is_found_from_inside_its_run(place, monkeypatch):
    monkeypatch.chdir(moved(place, "runs/modulated/tune/0003/best.pt").parent)
    said(evaluate("best.pt"))
    assert readings(place / "runs" / "modulated") == ["evaluate best.pt"]


def test_a_run_that_one_is_in_is_not_that_of_a_file_elsewhere(place, monkeypatch):
    moved(place, "elsewhere/mine.pt")
    monkeypatch.chdir(place / "runs" / "plain")
    result = evaluate("../../elsewhere/mine.pt")
    assert result.exit_code == 2
    tells(result.stderr, "../../elsewhere/mine.pt", "experiment.yaml", "--data FILE")


def test_data_can_be_named_where_a_checkpoint_is_alone(place):
    moved(place, "elsewhere/mine.pt")
    said(evaluate("elsewhere/mine.pt", "--data", "plain.yaml", "dataset.samples=60"))
    assert found(place / "elsewhere")["dataset"]["samples"] == 60
    assert readings(place / "elsewhere") == ["evaluate elsewhere/mine.pt"]
    assert not readings(place / "runs" / "plain")


@pytest.mark.parametrize("folder", ["confirm", "confirm.2"])
def test_a_training_of_a_confirmation_is_validated_on_the_split_that_it_drew(place, folder):
    into = f"{folder}/tune/0001"
    identify(RunFolder(place / "runs" / "modulated"), WithTest(samples=90).fingerprint)
    train(place, "modulated", "trial.seed=5", "dataset.split_seed=5", into=into)
    file = place / "runs" / "modulated" / into / "best.pt"
    # 90/0/0 are the data of the run; this training drew other data
    assert "90/0/0" not in said(evaluate(file, "--split", "validation"))
    assert (found(file.parent)["dataset"]["split_seed"], found(file.parent)["fingerprint"]) == (5, "90/0/5")
    assert_of_its_best_epoch(found(file.parent), file)
    said(evaluate(file, "--split", "validation", "--data", "modulated.yaml"))  # as it is asked for
    assert found(file.parent)["dataset"]["split_seed"] == 0


def test_other_data_than_the_runs_are_noted(place):
    run = RunFolder(place / "runs" / "modulated")
    identify(run, WithTest(samples=90).fingerprint)
    said(evaluate("modulated"))
    assert (found(run.path)["fingerprint"], found(run.path)["notes"]) == ("90/0/0", [])
    text = said(evaluate("modulated", "dataset.samples=80"))
    assert found(run.path)["fingerprint"] == "80/0/0"
    [note] = found(run.path)["notes"]
    tells(note, "runs/modulated", "90/0/0 then", "80/0/0 now")
    tells(text, note)
    identify(RunFolder(place / "runs" / "plain"), "0ld")
    text = said(evaluate("modulated", "--against", "plain"))
    note, _ = found(run.path)["notes"]
    tells(note, "runs/plain", "0ld then", "90/0/0 now")
    tells(text, note)


def test_data_that_changed_are_evaluated_on_only_where_they_are_named(place):
    identify(RunFolder(place / "runs" / "modulated"), "0ld")
    result = evaluate("modulated")
    assert result.exit_code == 2
    tells(result.output, "runs/modulated", "0ld then", "90/0/0 now", "--data FILE")
    assert not readings(place / "runs" / "modulated")
    tells(said(evaluate("modulated", "--data", "modulated.yaml")), "0ld then", "90/0/0 now")


# ---- mistakes ----


def changed(file: Path, **values: Any) -> None:
    """Write a checkpoint with some of its content replaced."""
    state = {**checkpoint.load(file), **values}
    del state["version"]
    checkpoint.save(state, file)


def of_another_version(file: Path) -> None:
    torch.save({**checkpoint.load(file), "version": 99}, file)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def of_other_weights(file: Path) -> None:
    changed(file, model={"nothing": torch.zeros(1)})


def with_other_classes(file: Path) -> None:
    changed(file, classes=["a", "z", "c"])


def a_search(file: Path) -> None:
    """Turn the training into a search whose best trial is the second, number 1."""
    run = RunFolder(file.parent)
    for number in (0, 1, 2):
        run.trial(number).mkdir(parents=True)
        shutil.copy(file, run.trial(number) / "best.pt")
    file.rename(file.with_name("moved.pt"))
    journal = Journal(run.journal)
    for number, value in enumerate((0.5, 0.75, 0.625)):
        suggested = {"arm": ("modulated", "baseline")[number % 2], "internal": {}, "changes": {}}
        metrics = {"epoch": 0, "val/accuracy": value, "best": value, "seconds": 1.0}
        journal.append({"event": "suggested", "number": number, **suggested})
        journal.append({"event": "started", "number": number})
        journal.append({"event": "reported", "number": number, "metrics": metrics})
        journal.append({"event": "ended", "number": number, "status": "finished", "reason": ""})
    journal.close()


def without_its_models(file: Path) -> None:
    a_search(file)
    for model in file.parent.glob("tune/*/best.pt"):
        model.unlink()


def with_an_empty_journal(file: Path) -> None:
    a_search(file)
    for journal in (file.parent / "tune").glob("*.jsonl"):  # the copy too
        journal.write_text("{}\n")


def alone(file: Path) -> None:
    (file.parent / "experiment.yaml").unlink()


def nothing(file: Path) -> None:
    pass


VECTORS = "dataset={name: tests.support.own_data:Vectors}"
WIDER = "dataset={name: tests.support.own_data:WithTest, shapes: {left: [8], right: [4]}}"
BEST = "runs/modulated/best.pt"
MISTAKES = [
    (nothing, ["nothere"], ["'nothere'", "runs/", "modulated, plain"]),
    (nothing, ["runs/modulated/last.pt"], ["runs/modulated/last.pt", "'shapes'", "best.pt"]),
    (nothing, ["modulated.yaml", "--data", "plain.yaml"], ["modulated.yaml", "an experiment file", "train it"]),
    (nothing, ["runs"], ["runs", "best.pt", "folder", "checkpoint"]),
    (a_search, ["modulated"], ["runs/modulated is a search", "runs/modulated/tune/0001/best.pt, the best trial"]),
    (without_its_models, ["modulated"], ["runs/modulated is a search", "runs/modulated/tune/NUMBER/best.pt"]),
    (with_an_empty_journal, ["modulated"], ["runs/modulated is a search", "runs/modulated/tune/NUMBER/best.pt"]),
    (truncated, ["modulated"], [BEST, "checkpoint"]),
    (of_another_version, ["modulated"], [BEST, "version 99", 1]),
    (of_other_weights, ["modulated"], [BEST, "weights"]),
    (with_other_classes, ["modulated"], [BEST, "3 classes", "a, z, c", "a, b, c", 1, "--data FILE"]),
    (with_other_classes, ["plain", "--against", "modulated"], [BEST, "runs/plain/experiment.yaml", "a, z, c"]),
    (nothing, ["modulated", WIDER], [BEST, "left [6], right [4]", "left [8], right [4]"]),
    (nothing, ["modulated", VECTORS], ["test split", "`--split validation`"]),
    (alone, ["modulated"], [BEST, "experiment.yaml", "--data FILE"]),
    (nothing, ["modulated", "trial.epochs=3"], ["'trial.epochs=3'", "`dataset`"]),
    (nothing, ["modulated", "dataset.sample=3"], ["`dataset.sample`", "`dataset.samples`"]),
    (nothing, ["modulated", "--data", "nothere.yaml"], ["nothere.yaml", "No such file"]),
    (nothing, ["modulated", "--against", "nothere"], ["'nothere'", "runs/", "modulated, plain"]),
    (nothing, ["modulated", "-o", "plain.yaml/out"], ["plain.yaml/out", "plain.yaml is a file", "-o FOLDER"]),
]


@pytest.mark.parametrize(("do", "arguments", "facts"), MISTAKES)
def test_a_mistake_gets_a_sentence_before_the_test_split_is_read(place, do, arguments, facts):
    do(place / "runs" / "modulated" / "best.pt")
    result = evaluate(*arguments)
    assert result.exit_code == 2, result.output
    tells(result.stderr, *facts)
    assert len([line for line in result.stderr.splitlines() if not line.startswith("  ")]) == 1  # besides a command
    assert "Traceback" not in result.output
    assert not list(place.rglob("evaluation.json"))
    assert not list(place.rglob("test_readings.jsonl"))


def test_answers_that_are_no_numbers_are_named_with_their_example(place):
    result = evaluate("modulated", "dataset.broken=true")
    assert result.exit_code == 2
    tells(result.stderr, BEST, "test split", "fused", "1 of 90", 5)
    assert not list(place.rglob("evaluation.json"))


def test_a_reading_that_cannot_be_put_on_record_is_none(place):
    (place / "runs" / "modulated" / "test_readings.jsonl").mkdir()
    result = evaluate("modulated")
    assert result.exit_code == 2
    tells(result.stderr, "runs/modulated/test_readings.jsonl", "a folder instead of a file")
    assert not list(place.rglob("evaluation.json"))
