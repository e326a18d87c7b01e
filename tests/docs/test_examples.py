"""Tests of the examples on the pages: files are valid, and code runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from search.backend.preflight import check_models
from search.experiment.load import load
from search.run.open_data import open_data
from tests.support import ROOT
from tests.support.pages import PAGES, anchors, block, blocks, name_of
from tests.support.tells import tells

LINK = re.compile(r"\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
EXECUTED = {  # page -> its number of Python examples, and the test files that execute them
    "README.md": (1, "docs/test_readme"),
    "docs/mlflow.md": (2, "docs/test_commands"),
    "docs/optuna.md": (1, "search/tuner/test_optuna_log"),
    "docs/own_data.md": (2, "docs/test_readme"),
    "docs/plugin.md": (8, "docs/test_examples", "docs/test_plugin"),
}
EXPERIMENTS = [(name_of(page), text) for page in PAGES for text in blocks(name_of(page), "yaml")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if not path.startswith(("http:", "https:")):
            there = (page.parent / path).resolve() if path else page
            assert there.is_file(), link
            assert not anchor or anchor in anchors(there), link


def test_the_index_lists_every_page_and_the_readme_links_the_index():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert linked == {page for page in PAGES if page.parent == index.parent} - {index}
    assert {"docs/README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(LINK.findall((ROOT / "README.md").read_text()))


def test_every_image_is_shown_with_a_description_and_is_small():
    shown = {
        (page.parent / file).resolve(): text
        for page in PAGES
        for text, file in IMAGE.findall(page.read_text(encoding="utf-8"))
    }
    assert set(shown) == set((ROOT / "docs/images").iterdir())
    assert [file.name for file, text in shown.items() if len(text) < 20] == []
    assert [file.name for file in shown if file.stat().st_size > 300_000] == []


def test_every_python_example_is_one_that_a_test_executes():
    shown = {name_of(page): len(blocks(name_of(page), "python")) for page in PAGES}
    assert {page: count for page, count in shown.items() if count} == {p: n for p, (n, *_) in EXECUTED.items()}
    for page, (_, *files) in EXECUTED.items():
        for file in files:
            assert page in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "text"), EXPERIMENTS, ids=lambda value: value.partition("\n")[0])
def test_every_experiment_file_that_is_shown_is_valid(tmp_path, monkeypatch, page, text):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(blocks("docs/own_data.md", "python")[1])
    (tmp_path / "shown.yaml").write_text(text)
    experiment = load(tmp_path / "shown.yaml")
    sys.modules.pop("mine", None)
    assert text.startswith(f"name: {experiment.name}\n")


@pytest.fixture
def plugged(tmp_path, monkeypatch, capsys) -> tuple[dict, str]:
    """Execute the examples of the plug-in's page as one script; return its names and its output."""
    names: dict = {}
    with torch.random.fork_rng():
        for number, code in enumerate(blocks("docs/plugin.md", "python")[:4]):
            exec(compile(code, f"docs/plugin.md, example {number}", "exec"), names)
    return names, capsys.readouterr().out


def test_the_plug_in_holds_back_the_modality_that_leads_within_the_window(plugged):
    names, printed = plugged
    found = [re.findall(r"'(\w+)': ([\d.e-]+)", line) for line in printed.splitlines()]
    k = [{name: float(value) for name, value in line} for line in found]
    assert len(k) == 5
    assert all(k[epoch] == {"audio": 1.0, "visual": 1.0} for epoch in (0, 4))
    assert all(k[epoch]["audio"] < 0.7 < k[epoch]["visual"] for epoch in (1, 2, 3))
    assert names["modulator"].state_dict() == {"step": 1}


def test_an_encoder_and_a_fusion_of_ones_own_make_models_of_a_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parts = block("docs/plugin.md", "python", "# parts.py\n")
    (tmp_path / "parts.py").write_text(parts)
    (tmp_path / "parts.yaml").write_text(*blocks("docs/plugin.md", "yaml"))
    experiment = load(tmp_path / "parts.yaml")
    [note] = check_models(experiment, open_data(experiment.dataset))
    sys.modules.pop("parts")
    tells(note, "AdamW")
