"""Trials with some of the data's modalities: training, metrics and checkpoint."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from datasets.loader.in_memory import InMemory, Split
from ogmge import inference
from ogmge.config import Modulation, TrialConfig, select_modalities
from ogmge.fit import train
from search.cli.main import main
from search.console.progress import Progress, of_search
from search.console.summary import bests_table
from search.experiment.arms import ARMS
from search.experiment.formatting import modalities
from search.experiment.space import with_changes
from search.run.best import best_of
from search.run.journal import Journal
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_tuner import experiment
from tests.support.tells import tells

NAMES = ("audio", "visual", "flow")
ALONE = TrialConfig(
    epochs=2, batch_size=8, encoder="small_conv", modalities=("visual",), modulation=Modulation(method="none")
)


def split(samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (samples,), generator=generator)
    x = torch.randn(3, samples, 1, 8, 8, generator=generator) + y.view(-1, 1, 1, 1)
    return Split(dict(zip(NAMES, x, strict=True)), y)


def only(data: InMemory, *names: str) -> InMemory:
    """Return the data without the other modalities."""
    parts = [Split({n: s.x[n] for n in names}, s.y) for s in (data.training, data.held_out)]
    return replace(data, training=parts[0], held_out=parts[1])


DATA = InMemory(["a", "b", "c"], split(24, 0), split(10, 1), "")


def run(config: TrialConfig, folder: Path, data: InMemory = DATA) -> list[dict[str, float]]:
    """Train, and return the reported metrics without the seconds."""
    reports: list[dict[str, float]] = []
    train(config, data, reports.append, folder=folder)
    return [{name: value for name, value in metrics.items() if name != "seconds"} for metrics in reports]


PAIR = replace(ALONE, modalities=("flow", "audio"), modulation=Modulation(alpha=0.5))


@pytest.mark.parametrize(("config", "names"), [(ALONE, ["visual"]), (PAIR, ["audio", "flow"])])
def test_a_trial_of_some_modalities_is_one_on_data_that_have_no_others(tmp_path, config, names):
    """Bit for bit, in the order of the data, whatever the order of the list."""
    found = run(config, tmp_path / "some")
    assert found == run(replace(config, modalities=None), tmp_path / "only", only(DATA, *names))
    assert modalities(found[0]) == names
    keys = {f"{what}/{name}" for what in ("train/accuracy", "ratio", "coefficient") for name in names}
    assert {key for key in found[0] if key.endswith(NAMES)} == keys | {f"val/accuracy/{name}" for name in names}
    some, other = (inference.load(tmp_path / folder / "best.pt").model.state_dict() for folder in ("some", "only"))
    assert all(torch.equal(some[key], other[key]) for key in {**some, **other})


def test_alone_a_modality_is_as_right_as_all_of_the_model(tmp_path):
    for metrics in run(ALONE, tmp_path):
        assert metrics["val/accuracy"] == metrics["val/accuracy/visual"]
        assert (metrics["ratio/visual"], metrics["coefficient/visual"]) == (1, 1)


def test_what_was_trained_alone_is_loaded_and_says_what_it_takes(tmp_path):
    config = replace(ALONE, encoder={"audio": "mlp", "visual": "small_conv", "flow": "mlp"})
    metrics = run(config, tmp_path)
    model = inference.load(tmp_path / "best.pt")
    assert (model.names, dict(model.shapes), model.config) == (("visual",), {"visual": (1, 8, 8)}, config)
    fused, alone = model.logits({"visual": DATA.held_out.x["visual"]})
    right = float((fused.argmax(dim=1) == DATA.held_out.y).double().mean())
    assert right == max(m["val/accuracy"] for m in metrics)
    assert torch.equal(alone["visual"], fused)
    assert model.mismatch(DATA.shapes, DATA.classes) is None
    assert model.mismatch(only(DATA, "visual").shapes, DATA.classes) is None
    tells(model.mismatch({"audio": (1, 8, 8)}, DATA.classes), "visual [1, 8, 8]", "audio [1, 8, 8]")


def test_a_checkpoint_from_before_there_was_a_choice_takes_all(tmp_path):
    run(PAIR, tmp_path)
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    del state["config"]["modalities"], state["shapes"]["visual"]
    torch.save(state, tmp_path / "old.pt")
    assert inference.load(tmp_path / "old.pt").names == ("audio", "flow")


@pytest.mark.parametrize("asked", [None, NAMES, NAMES[::-1]])
def test_all_there_are_can_be_named_or_left_out(asked):
    assert list(select_modalities(replace(ALONE, modalities=asked), DATA.shapes)) == list(NAMES)


def test_what_is_searched_comes_through_an_experiment_file():
    asked = experiment("space.modalities=[[audio],[visual,audio],null]")
    changed = [with_changes(asked.trial, {"modalities": value}).modalities for value in asked.space["modalities"]]
    assert changed == [("audio",), ("visual", "audio"), None]


def epoch(accuracy: float, *names: str) -> dict[str, float]:
    alone = {f"{what}/{name}": 0.5 for name in names for what in ("val/accuracy", "coefficient")}
    return {"epoch": 0, "val/loss": 1.0, "val/accuracy": accuracy, **alone, "best": accuracy, "seconds": 1.0}


@pytest.fixture
def mixed(tmp_path: Path) -> Tuner:
    """A search whose trials take different modalities."""
    asked = experiment("space.modalities=[[audio,visual],[visual,flow]]", "search.transfer=0")  # the arms alternate
    tuner = Tuner(asked, Journal(tmp_path / "journal.jsonl"), SearchPolicy(asked))
    for names in (("audio", "visual"), ("visual", "flow")):
        trial = tuner.next()
        trial.changes["modalities"] = list(names)
        tuner.record_start(trial.number)
        tuner.record_epoch(trial.number, epoch(0.75, *names))
    return tuner


def lines(screen: Console) -> list[list[str]]:
    return [line.split() for line in screen.export_text().splitlines()]


def test_trials_of_different_modalities_stand_in_one_table(mixed):
    screen = Console(file=io.StringIO(), width=240, record=True)
    screen.print(Progress(mixed, of_search(mixed), screen, 2).table())
    head, first, second = lines(screen)[1:4]
    assert head[-6:] == ["audio", "visual", "flow", "k", "audio/visual/flow", "settings"]
    numbers, settings = first[4:10], first[10:]
    assert numbers[-5:] == ["50.0", "%", "50.0", "%", "0.50/0.50/-"]
    assert "modalities=audio,visual" in settings
    assert second[5:10] == ["50.0", "%", "50.0", "%", "-/0.50/0.50"]


def test_the_best_of_both_arms_need_not_take_the_same(mixed):
    for number in range(2):
        mixed.record_end(number, "finished")
    bests = {arm: best_of(mixed.record, arm, "val/accuracy", "max") for arm in ARMS}
    screen = Console(file=io.StringIO(), width=240, record=True)
    screen.print(bests_table(mixed.experiment, mixed.record, bests))
    rows = {line[0]: [cell for cell in line if cell in ("-", "50.0")] for line in lines(screen) if line}
    assert rows["visual"] == ["50.0", "50.0"]
    assert sorted([rows["audio"], rows["flow"]]) == [["-", "50.0"], ["50.0", "-"]]


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        ("[]", ["null", "[]"]),
        ("[left,left]", ["null", "once", ["left", "left"]]),
        ("[left,middle]", ["left, right", ["left", "middle"]]),
        ("[left]", ["two", "`modulation.method` none", ["left"]]),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(tmp_path, monkeypatch, value, facts):
    monkeypatch.chdir(tmp_path)
    written = "name: own\ndataset: {name: 'tests.support.own_data:Vectors'}\n"
    Path("own.yaml").write_text(f"{written}trial: {{encoder: mlp, modulation: {{parameters: all}}}}\n")
    result = CliRunner().invoke(main, ["train", "own.yaml", f"trial.modalities={value}"])
    assert result.exit_code == 2, result.output
    tells(result.output.replace('"', "'"), "`trial.modalities`", *facts)
    assert result.output.count("`trial.") == 1
    assert not Path("runs").exists()
