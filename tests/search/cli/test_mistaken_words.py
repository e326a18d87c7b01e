"""What a newcomer types: an experiment file where a run or model is meant, and the options of the authors' code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from search.cli.authors_flags import FLAGS
from tests.support import ROOT
from tests.support.searches import command, search
from tests.support.tells import tells

DOCS = (ROOT / "docs" / "authors_flags.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with the files of the search `x`, and an experiment file of it and of another one."""
    (tmp_path / "runs" / "x").mkdir(parents=True)
    for file, name in {
        "runs/x/best.yaml": "x-best",
        "runs/x/experiment.yaml": "x",
        "mine.yaml": "x",
        "y.yaml": "y",
    }.items():
        (tmp_path / file).write_text(f"name: {name}\ndataset: {{name: digits}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["evaluate", "probe"])
@pytest.mark.parametrize("file", ["runs/x/best.yaml", "mine.yaml"])
def test_an_experiment_file_in_place_of_a_model_is_to_be_trained_first(here, name, file):
    result = command(name, file)
    assert result.exit_code == 2
    tells(result.output, file, f"uv run python -m search train {file}", "`name`")


@pytest.mark.parametrize("name", ["confirm", "report", "export"])
@pytest.mark.parametrize("file", ["runs/x/best.yaml", "runs/x/experiment.yaml", "mine.yaml"])
def test_an_experiment_file_in_place_of_a_run_names_the_run(here, name, file):
    result = command(name, file)
    assert result.exit_code == 2
    tells(result.output, file, "did you mean the run `x`?")


def test_an_experiment_file_that_was_never_searched_is_to_be_searched(here):
    result = command("confirm", "y.yaml")
    assert result.exit_code == 2
    tells(result.output, "uv run run_search.py y.yaml")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["search", "y.yaml"], "uv run run_search.py y.yaml"),
        (["search"], "uv run run_search.py FILE"),
        (["y.yaml", "trial.epochs=2"], "uv run run_search.py y.yaml trial.epochs=2"),
    ],
)
def test_a_search_typed_as_another_command_is_told_its_own(here, words, meant):
    result = command(*words)
    assert result.exit_code == 2
    tells(result.output, f"`{meant}`")


@pytest.mark.parametrize("words", [["confirm", "x"], ["train", "y.yaml"]])
def test_another_command_typed_as_a_search_is_told_its_own(here, words):
    result = search(*words)
    assert result.exit_code == 2
    tells(result.output, words[0], f"`uv run python -m search {' '.join(words)}`")


def test_a_key_typed_as_an_option_is_written_without_dashes(here):
    result = search("y.yaml", "--trial.epochs=3")
    assert result.exit_code == 2
    tells(result.output, "--trial.epochs", "without dashes", "`trial.epochs=2`")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("y", "y.yaml"),
        ("y.yml", "y.yaml"),
        ("x", "runs/x/best.yaml"),
        ("y.yam", None),
        (".", "mine.yaml or y.yaml"),
        ("runs/x", "runs/x/best.yaml"),
        ("runs", None),
        ("runs/x/best.pt", "runs/x/best.yaml"),
    ],
)
def test_a_file_named_almost_right_is_suggested(here, typed, meant):
    torch.save({}, here / "runs" / "x" / "best.pt")
    result = command("train", typed)
    assert result.exit_code == 2
    tells(result.output, f"cannot read {typed}", *([f"did you mean {meant}?"] if meant else []))
    assert ("did you mean" in result.output) is bool(meant)


@pytest.mark.parametrize("name", ["train", "prepare"])
def test_the_authors_options_are_all_answered_with_their_keys(name):
    result = command(name, "x.yaml", "--alpha", "0.8", "--fusion_method=sum", "--modulation_starts", "0")
    assert result.exit_code == 2
    tells(result.output, "trial.modulation.alpha", "trial.fusion", "trial.modulation.start", "docs/authors_flags.md")


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flags_key_is_that_of_the_docs(flag):
    row = next(line for line in DOCS.splitlines() if line.startswith("|") and f"`{flag}`" in line)
    if key := FLAGS[flag]:
        assert f"`{key}" in row or f"`.{key.rpartition('.')[2]}`" in row or key.rpartition(".")[2] in row


def test_every_flag_of_the_docs_is_known():
    rows = [line.split("|")[1] for line in DOCS.splitlines() if line.startswith("|")]
    assert {flag for row in rows for flag in re.findall(r"`(--\w+)`", row)} == {*FLAGS}
