"""Tests of the README: its commands, files and examples work."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

from datasets import registry
from datasets.store.prepare import prepare
from ogmge import fit
from ogmge.fusion import FUSIONS
from search.backend.preflight import check_models
from search.cli.main import main
from search.experiment.load import load
from search.run.open_data import open_data
from tests.support import ROOT, films
from tests.support.pages import block
from tests.support.tells import tells
from tests.support.terminals import drawn_text

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_DATA = "docs/own_data.md"


def test_every_command_is_named_and_every_name_is_a_command():
    named = set(re.findall(r"python -m search (\w+)", TEXT))
    assert named == set(main.commands)


def test_it_is_short_enough_to_be_read_to_the_end():
    assert len(TEXT.split()) <= 1200


@pytest.mark.parametrize("page", ["README.md", "docs/verdict.md"])
def test_the_output_that_a_page_shows_is_that_of_the_run_in_the_pictures(page):
    shown = block(page, "text", "val/accuracy")
    assert shown in drawn_text((ROOT / "docs/images/verdict.svg").read_text(encoding="utf-8"))


def test_every_file_that_it_names_is_there():
    for path in re.findall(r"(?:experiments|tests|ogmge)/\w+\.(?:yaml|py)", TEXT):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w./]+)\)", TEXT):
        assert (ROOT / path).exists(), path


def test_the_plug_in_trains():
    code = block("README.md", "python", "modulator.modulate")
    torch.manual_seed(0)
    encoders = {u: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(8)) for u in ("audio", "visual")}
    net = SimpleNamespace(**encoders, encoders=encoders)
    head = FUSIONS["gated"]({"audio": 8, "visual": 8}, 3)
    x = {u: torch.randn(6, 1, 5, 5) for u in encoders}
    for name, encoder in encoders.items():
        encoder(x[name])
    optimizer = torch.optim.SGD([p for m in (*encoders.values(), head) for p in m.parameters()], lr=0.1)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    names = {
        "net": net,
        "head": head,
        "x": x,
        "y": y,
        "optimizer": optimizer,
        "epoch": 3,
        "cross_entropy": cross_entropy,
    }
    before = [p.detach().clone() for p in head.parameters()]
    exec(compile(code, "README.md", "exec"), names)
    assert names["stats"].coefficient.min() < 1  # the leading modality was held back
    assert any(not torch.equal(a, b) for a, b in zip(before, head.parameters(), strict=True))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder with a custom data class, an experiment on it, and data for both."""
    (tmp_path / "mine.py").write_text(block(OWN_DATA, "python", "class Clips"))
    (tmp_path / "mine.yaml").write_text(block("docs/search.md", "yaml", "mine:Clips"))
    generator = torch.Generator().manual_seed(0)
    for split, samples in (("train", 64), ("validation", 32)):
        y = torch.arange(samples) % 2
        x = {"audio": (1, 32, 32), "visual": (3, 32, 32), "text": (20,)}
        values = {m: torch.randn(samples, *s, generator=generator) + y.view(-1, *[1] * len(s)) for m, s in x.items()}
        torch.save({**values, "y": y}, tmp_path / f"{split}.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def test_data_of_ones_own_with_three_modalities_train(mine: Path):
    overrides = [f"dataset.root={mine}", "trial.encoder={audio: small_conv, visual: small_conv, text: mlp}"]
    experiment = load(mine / "mine.yaml", [*overrides, "trial.precision=fp32", "trial.epochs=2", "trial.batch_size=8"])
    assert set(experiment.space) >= {"fusion", "optimizer.lr", "modulation.alpha"}
    data = open_data(experiment.dataset)
    check_models(experiment, data)
    epochs: list[dict[str, float]] = []
    fit.train(experiment.trial, data, epochs.append, folder=mine / "trained")
    assert {f"val/accuracy/{m}" for m in ("audio", "visual", "text")} < set(epochs[1])
    assert epochs[1]["val/accuracy"] > 0.8
    assert min(epochs[1][f"coefficient/{m}"] for m in ("audio", "visual", "text")) < 1


@pytest.mark.slow
@pytest.mark.longer
def test_data_of_ones_own_are_searched(mine: Path):
    words = [f"dataset.root={mine}", "trial.encoder={audio: small_conv, visual: small_conv, text: mlp}"]
    words += ["trial.precision=fp32", "trial.epochs=1", "trial.batch_size=8", "search.trials=2"]
    words += ["space.modulation.start=[0]", "space.modulation.end=[0]", "search.resources={cpu: 1, gpu: 0}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_search.py"), "mine.yaml", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ *text\b", done.stdout, flags=re.MULTILINE)  # accuracy of the text alone
    tells(done.stdout, "0 failed")


def write_clips(names: list[str], folder: Path) -> None:
    for i, name in enumerate(names):
        films.write(folder / name, films.moving(10, 64, 96, seed=i), films.chirp(0.6, 16000), rate=16000)


def test_a_table_of_ones_own_is_prepared(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    listed = block(OWN_DATA, "csv", "film,label")
    (folder / "clips.csv").write_text(listed)
    write_clips(re.findall(r"^(clips/.*?\.mp4)", listed, flags=re.MULTILINE), folder)
    text = block(OWN_DATA, "yaml", "name: table").replace("~/data/mine", str(folder))
    options = registry.options(yaml.safe_load(text.replace("~/data/stores", str(tmp_path)))["dataset"])
    index = options.index()
    assert [(c.label, c.split, c.group) for c in index.clips] == [
        ("cough", "train", "anna"),
        ("cough", "test", "ben"),
        ("laugh", "train", "anna"),
    ]
    report = prepare("table", index, options.settings(), Path(options.store), parallel=map)
    assert (report.clips, report.quarantined) == (3, ())


def test_the_shortest_table_is_prepared(tmp_path: Path):
    rows = [(f"{label}{n}.mp4", label, split) for label in "ab" for n, split in enumerate(("train", "validation"))]
    (tmp_path / "clips.csv").write_text("\n".join(map(",".join, [("path", "label", "split"), *rows])))
    write_clips([name for name, _, _ in rows], tmp_path)
    text = block("README.md", "yaml", "name: table").replace("clips.csv", str(tmp_path / "clips.csv"))
    options = registry.options(yaml.safe_load(text.replace("~/data/stores", str(tmp_path)))["dataset"])
    report = prepare("table", options.index(), options.settings(), Path(options.store), parallel=map)
    assert (report.clips, report.quarantined) == (4, ())
