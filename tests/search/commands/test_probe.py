"""`python -m search probe`: the probed encoders, the data, the results and the errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from ogmge import checkpoint, inference
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.fit import train
from search.cli.main import main
from search.experiment.schema import Experiment, as_values, to_yaml
from search.models.lookup import checkpoint_of, load
from tests.support.own_data import Vectors
from tests.support.tells import tells

CONFIG = TrialConfig(
    epochs=2,
    batch_size=16,
    encoder={"left": "mlp", "right": "mlp"},
    fusion="film",
    modulation=Modulation(alpha=0.5, parameters="all"),
    optimizer=Optimizer(lr=0.1),
)
NONE = replace(CONFIG, modulation=replace(CONFIG.modulation, method="none"))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Drawn(Vectors):
    """Data with a test split, and a validation split that is drawn by a seed."""

    split_seed: int = 0

    def test(self, *, batch_size: int, reason: str) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        yield from Vectors(seed=self.seed + 7, samples=30).validation(batch_size=batch_size)


def put(folder: Path, config: TrialConfig, data: str, trial: str = ".") -> None:
    """Train a model in the folder of a run, or in that of a trial."""
    dataset = {"name": f"{'tests.support.own_data' if data == 'Vectors' else __name__}:{data}"}
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(
        to_yaml(as_values(Experiment(name=folder.name, dataset=dataset, trial=config)))
    )
    train(config, Drawn(), lambda metrics: None, folder=folder / trial)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of runs; `alone` was probed with --unimodal, which created a database of MLflow."""
    folder = tmp_path_factory.mktemp("made")
    put(folder / "runs" / "modulated", CONFIG, "Drawn")
    put(folder / "runs" / "plain", NONE, "Drawn")
    put(folder / "runs" / "untested", NONE, "Vectors")
    put(folder / "runs" / "left", replace(NONE, modalities=("left",), fusion="concat"), "Drawn")
    put(folder / "runs" / "searched", NONE, "Drawn", "tune/0003")
    confirmed = folder / "runs" / "searched" / "confirm" / "tune" / "0001"
    train(replace(NONE, seed=5), Drawn(), lambda metrics: None, folder=confirmed)
    put(folder / "runs" / "alone", NONE, "Drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done("alone", "--unimodal")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def probe(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", *arguments])


def done(*arguments: str) -> str:
    result = probe(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def found(folder: str) -> dict:
    return json.loads(Path(folder, "probe", "probe.json").read_text())


def test_two_models_stand_side_by_side(here):
    said = done("modulated", "plain")
    report = found("runs/modulated")
    assert (report["split"], report["examples"], report["training_examples"]) == ("validation", 96, 96)
    assert [row["name"] for row in report["rows"]] == ["modulated", "plain"]
    assert [row["modulation"]["method"] for row in report["rows"]] == ["ogm_ge", "none"]
    _, y = next(iter(Drawn().validation(batch_size=1)))
    assert report["chance"] == max(y.bincount().tolist()) / 96
    lines = [line.split() for line in said.splitlines()]
    for row in report["rows"]:
        metrics = checkpoint.load(Path("runs", row["name"], "best.pt"))["metrics"]
        assert row["fused"]["value"] == metrics["val/accuracy"]
        for name, encoder in row["encoders"].items():
            assert encoder["head"]["value"] == metrics[f"val/accuracy/{name}"]
            assert encoder["converged"]
            assert encoder["probe"]["low"] < encoder["probe"]["value"] < encoder["probe"]["high"]
            assert encoder["checkpoint"] == f"runs/{row['name']}/best.pt"
        values = [f"{100 * row['encoders'][name]['probe']['value']:.1f}" for name in ("left", "right")]
        assert lines[lines.index([row["name"]]) + 1][-4:] == [values[0], "%", values[1], "%"]
    with Image.open("runs/modulated/probe/probe.png") as picture:
        assert len(picture.convert("L").histogram()) == 256
        assert min(picture.size) > 300
    tells(said, "runs/modulated/probe/probe.json", "runs/modulated/probe/probe.png")
    assert not Path("runs/plain/probe").exists()


def test_a_second_time_it_says_the_same(here):
    first = (done("modulated"), found("runs/modulated"))
    assert (done("modulated"), found("runs/modulated")) == first


def test_encoders_are_trained_alone_with_the_trials_settings_and_once(here):
    before = Path("runs/modulated/best.pt").read_bytes()
    said = done("modulated", "--unimodal")
    epochs = [line for line in said.splitlines() if "val/accuracy" in line]
    for line, name, epoch in zip(epochs, ("left", "left", "right", "right"), ("1/2", "2/2") * 2, strict=True):
        tells(line, name, epoch)
    alone = found("runs/modulated")["rows"][1]
    assert alone["fused"] is None
    for name in ("left", "right"):
        folder = Path("runs/modulated/probe", name)
        model = inference.load(folder / "best.pt")
        method = replace(CONFIG.modulation, method="none")
        assert model.config == replace(CONFIG, modalities=(name,), modulation=method, fusion="concat")
        assert alone["encoders"][name]["head"]["value"] == model.metrics["val/accuracy"]
        assert alone["encoders"][name]["checkpoint"] == str(folder / "best.pt")
    reports = found("runs/modulated")
    stamps = [path.stat().st_mtime_ns for path in sorted(Path("runs/modulated/probe").glob("*/*.pt"))]
    done("modulated", "--unimodal")
    assert stamps == [path.stat().st_mtime_ns for path in sorted(Path("runs/modulated/probe").glob("*/*.pt"))]
    assert found("runs/modulated") == reports
    assert Path("runs/modulated/best.pt").read_bytes() == before
    lines = [line.split() for line in said.splitlines()]
    joint, behind = reports["rows"][0]["encoders"], []
    for name in ("left", "right"):
        difference = joint[name]["probe"]["value"] - alone["encoders"][name]["probe"]["value"]
        behind.append(f"{100 * difference:+.1f}")
    assert lines[lines.index(["modulated"]) + 3] == ["vs", "trained", "alone,", "points", *behind]


@pytest.mark.parametrize(("cpu", "threads"), [("3", 3), ("0.5", 1), ("auto", 1)])
def test_probes_take_the_share_of_cores_that_a_trial_has(here, cpu, threads):
    path = Path("runs/plain/experiment.yaml")
    path.write_text(path.read_text().replace("cpu: 1.0", f"cpu: {cpu}"))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        done("plain")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def recorded(here: Path) -> dict[str, mlflow.entities.Run]:
    """Return the unimodal trainings in MLflow by modality; each exists once."""
    client = mlflow.MlflowClient(f"sqlite:///{here / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("modulated").experiment_id], "tags.kind = 'probe'")
    found = {run.data.tags["modality"]: run for run in runs}
    assert len(found) == len(runs)
    for name, run in found.items():
        epochs = checkpoint.load(Path("runs/modulated/probe", name, "last.pt"))["history"]
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert [m.value for m in sorted(history, key=lambda m: m.step)] == [m["val/accuracy"] for m in epochs]
    return found


def test_trainings_alone_are_found_in_mlflow_under_the_models_run_each_once(here):
    Path("runs/modulated/mlflow.json").write_text('{"parent_run_id": "abc"}')
    done("modulated", "--unimodal")
    for _ in range(2):
        runs = recorded(here)
        assert set(runs) == {"left", "right"}
        for name, run in runs.items():
            tells(run.info.run_name, "probe", name)
            assert run.info.status == "FINISHED"
            assert (run.data.tags["mlflow.parentRunId"], run.data.tags["model"]) == ("abc", "runs/modulated/best.pt")
            assert (run.data.params["modalities"], run.data.params["modulation.method"]) == (f'["{name}"]', "none")
        done("modulated", "--unimodal")


def test_where_mlflow_is_gone_trainings_alone_are_made_all_the_same(here):
    path = Path("runs/modulated/experiment.yaml")
    path.write_text(path.read_text().replace("uri: null", "uri: http://127.0.0.1:1"))
    tells(done("modulated", "--unimodal"), "MLflow", "http://127.0.0.1:1")
    assert len(found("runs/modulated")["rows"]) == 2


def test_a_training_alone_that_was_stopped_goes_on(here):
    whole = checkpoint.load(Path("runs/alone/probe/right/last.pt"))
    shutil.rmtree("runs/alone/probe/right")

    def stop(metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    config = inference.load(Path("runs/alone/probe/left/best.pt")).config
    with pytest.raises(KeyboardInterrupt):
        train(replace(config, modalities=("right",)), Drawn(), stop, folder=Path("runs/alone/probe/right"))
    note = json.loads(Path("runs/alone/probe/left/training.json").read_text())
    note["trial"]["modalities"] = ["right"]
    Path("runs/alone/probe/right/training.json").write_text(json.dumps(note, sort_keys=True))
    first = checkpoint.load(Path("runs/alone/probe/right/last.pt"))["history"]
    done("alone", "--unimodal")
    again = checkpoint.load(Path("runs/alone/probe/right/last.pt"))
    assert again["history"][0] == first[0]
    assert len(again["history"]) == 2
    weights = whole["trainer"]["model"]
    assert all(torch.equal(value, weights[name]) for name, value in again["trainer"]["model"].items())


def test_a_model_of_one_modality_stands_beside_one_of_two(here):
    lines = [line.split() for line in done("plain", "left").splitlines()]
    assert lines[lines.index(["left"]) + 1][-1] == "-"
    assert list(found("runs/plain")["rows"][1]["encoders"]) == ["left"]


def test_a_reading_of_the_test_split_is_on_record_for_each_run(here):
    done("plain", "modulated")
    assert not Path("runs/plain/test_readings.jsonl").exists()
    done("plain", "modulated", "--split", "test")
    report = found("runs/plain")
    assert (report["split"], report["examples"]) == ("test", 30)
    for run in ("plain", "modulated"):
        [line] = Path("runs", run, "test_readings.jsonl").read_text().splitlines()
        tells(json.loads(line)["reason"], "plain", "modulated")
    assert report["read"] == json.loads(line)
    when = report["read"]["time"][:16].replace("T", " ")
    tells(done("plain", "--split", "test"), f"plain has read the test split once ({when} UTC)")


@pytest.mark.parametrize(
    ("what", "file", "run", "split_seed"),
    [
        ("plain", "runs/plain/best.pt", "runs/plain", 0),
        ("runs/plain", "runs/plain/best.pt", "runs/plain", 0),
        ("runs/plain/best.pt", "runs/plain/best.pt", "runs/plain", 0),
        ("runs/searched/tune/0003", "runs/searched/tune/0003/best.pt", "runs/searched", 0),
        ("runs/searched/confirm/tune/0001/best.pt",) * 2 + ("runs/searched", 5),
    ],
)
def test_a_model_is_found_with_its_run_and_the_data_that_it_was_trained_on(here, what, file, run, split_seed):
    model = load(what, checkpoint_of(what, Path("runs")), CPU)
    section = model.dataset(model.experiment.dataset)
    assert (str(model.file), str(model.folder.path)) == (file, run)
    assert (section["name"], section["split_seed"]) == ("tests.search.commands.test_probe:Drawn", split_seed)


def test_a_model_is_found_from_inside_its_run(here, monkeypatch):
    monkeypatch.chdir("runs/searched/confirm/tune")
    model = load("0001", checkpoint_of("0001/best.pt", Path("runs")), CPU)
    assert model.run.path == here / "runs" / "searched"
    assert (model.confirmation, model.dataset(model.experiment.dataset)["split_seed"]) == (True, 5)


def test_a_checkpoint_of_no_run_is_probed_on_data_that_are_named(here):
    shutil.move("runs/plain/best.pt", "stray.pt")
    done("stray.pt", "--data", "runs/plain/experiment.yaml", "--split", "test")
    assert Path("probe/probe.json").exists()
    assert Path("test_readings.jsonl").exists()


def cut(here: Path) -> None:
    path = Path("runs/plain/best.pt")
    path.write_bytes(path.read_bytes()[:-1000])


def of_another_version(here: Path) -> None:
    state = torch.load("runs/plain/best.pt", weights_only=True)
    torch.save({**state, "version": 99}, "runs/plain/best.pt")


def of_no_model(here: Path) -> None:
    shutil.copy("runs/plain/last.pt", "runs/plain/best.pt")


def trained_on(**state: object) -> Callable[[Path], None]:
    def change(here: Path) -> None:
        old = torch.load("runs/plain/best.pt", weights_only=True)
        torch.save({**old, **state}, "runs/plain/best.pt")

    return change


def on_other_data(here: Path) -> None:
    Path("runs/plain/run.json").write_text('{"run": "1", "fingerprint": "0ld"}')


def alone_before(here: Path) -> None:
    note = Path("runs/alone/probe/left/training.json")
    note.write_text(note.read_text().replace('"lr": 0.1', '"lr": 0.2'))


def stray(here: Path) -> None:
    shutil.move("runs/plain/best.pt", "stray.pt")


def nothing(here: Path) -> None: ...


KNOWN = "alone, left, modulated, plain, untested"


@pytest.mark.parametrize(
    ("change", "arguments", "facts"),
    [
        (nothing, ["nowhere"], ["'nowhere'", "runs/", KNOWN]),
        (nothing, ["runs/nowhere/best.pt"], ["'runs/nowhere/best.pt'", "runs/", KNOWN]),
        (nothing, ["searched"], ["runs/searched", "best.pt"]),
        (nothing, ["plain", "plain"], ["plain, plain"]),
        (nothing, ["plain", "untested"], ["plain", "untested", "different data", "--data FILE"]),
        (nothing, ["untested", "--split", "test"], ["test split", "--split test"]),
        (nothing, ["left", "--unimodal"], ["runs/left/best.pt", "one modality", "--unimodal"]),
        (nothing, ["plain", "--data", "none.yaml"], ["none.yaml", "No such file"]),
        (stray, ["stray.pt"], ["stray.pt", "experiment.yaml", "--data FILE"]),
        (cut, ["plain"], ["runs/plain/best.pt", "checkpoint", "zip file"]),
        (of_another_version, ["plain"], ["runs/plain/best.pt", "version 99", 1]),
        (of_no_model, ["plain"], ["runs/plain/best.pt", "'shapes'"]),
        (trained_on(classes=["x", "y", "z"]), ["plain"], ["runs/plain/best.pt", "x, y, z", "a, b, c"]),
        (
            trained_on(shapes={"left": [6], "right": [5]}),
            ["plain"],
            ["runs/plain/best.pt", "weights", "MultimodalClassifier"],
        ),
        (on_other_data, ["plain"], ["runs/plain", "0ld", "unknown", "--data"]),
        (alone_before, ["alone", "--unimodal"], ["runs/alone/probe/left"]),
    ],
)
def test_what_cannot_be_probed_is_a_sentence(here, change, arguments, facts):
    change(here)
    result = probe(*arguments)
    assert result.exit_code == 2, result.output
    tells(result.output, *facts)
    assert len(result.output.strip().splitlines()) == 1


@dataclass(frozen=True)
class Wider(Drawn):
    """Data in which one modality has another shape."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", {"left": (6,), "right": (5,)})


@dataclass(frozen=True)
class Diverging(Drawn):
    """Data on which every training diverges."""

    def train(self, *, batch_size: int, seed: int, epoch: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for x, y in super().train(batch_size=batch_size, seed=seed, epoch=epoch):
            yield {name: value * torch.inf for name, value in x.items()}, y


def data_file(kind: str) -> list[str]:
    Path("other.yaml").write_text(f"name: other\ndataset: {{name: 'tests.search.commands.test_probe:{kind}'}}\n")
    return ["--data", "other.yaml"]


def test_data_of_other_shapes_are_refused(here):
    result = probe("plain", *data_file("Wider"))
    assert result.exit_code == 2
    tells(result.output, "runs/plain/best.pt", "left [6], right [4]", "left [6], right [5]")


def test_features_that_are_no_numbers_are_a_sentence(here):
    result = probe("plain", *data_file("Diverging"))
    assert result.exit_code == 2, result.output
    tells(result.output, "encoder", "left", "features", "infinite")


def test_a_training_alone_that_diverges_has_failed(here):
    result = probe("plain", *data_file("Diverging"), "--unimodal")
    assert result.exit_code == 1, result.output
    tells(result.output, "one modality", "loss", "epoch 0", "step 0")


def test_a_probe_that_is_no_optimum_is_said(here, monkeypatch):
    monkeypatch.setattr("ogmge.linear_probe.ITERATIONS", 1)
    tells(done("plain"), "plain, left; plain, right")
