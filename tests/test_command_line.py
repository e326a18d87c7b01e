"""What the command line says of itself, and of what it is asked and does not know."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from search.cli import main, search_command

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ", ".join(sorted(main.commands))


def asked(*words: str) -> Result:
    """A command line as it is typed behind `uv run`."""
    program, command = ("run_search.py", search_command) if words[0] == "run_search.py" else ("python -m search", main)
    return CliRunner().invoke(command, list(words[1:]), prog_name=program, terminal_width=80)


# ---- mistakes name the choices ----


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["search", "verdict"], f"No such command 'verdict'. There is {COMMANDS}."),
        (["search", "confrim", "demo"], "No such command 'confrim'. Did you mean 'confirm'?"),
        (["search", "--xyz"], "No such option '--xyz'. There is --version, --help."),
        (
            ["search", "confirm", "demo", "--xyz"],
            "No such option '--xyz'. There is --seeds, --sequential, --test, --help.",
        ),
        (["search", "confirm", "demo", "--seed", "3"], "No such option '--seed'. Did you mean '--seeds'?"),
        (["search", "export", "demo", "-x"], "No such option '-x'. There is --output, --trial, --help."),
        (["search", "probe", "demo", "--split", "tset"], "'tset' is not one of 'validation', 'test'."),
        (["run_search.py", "x.yaml", "--dry"], "No such option '--dry'. Did you mean '--dry-run'?"),
        (
            ["run_search.py", "x.yaml", "--xyz"],
            "No such option '--xyz'. There is --resume, --dry-run, --version, --help.",
        ),
    ],
)
def test_what_is_unknown_is_answered_with_what_there_is(words, sentence):
    result = asked(*words)
    assert result.exit_code == 2
    assert " ".join(result.output.split()).endswith(sentence)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs of some names, of which two were trained by themselves."""
    for name in ("demo", "demo-best", "vggsound"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "experiment.yaml").touch()
    for name in ("demo-best", "plain"):
        (tmp_path / "runs" / name).mkdir(exist_ok=True)
        (tmp_path / "runs" / name / "best.pt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["export", "dmo"],
            "no run called 'dmo' under runs/: there is demo, demo-best, vggsound; did you mean `demo`?",
        ),
        (["ui", "cremad"], "no run called 'cremad' under runs/: there is demo, demo-best, vggsound"),
        (
            ["evaluate", "palin"],
            "no file 'palin', and no training of that name under runs/: there is demo-best, plain; "
            "did you mean `plain`?",
        ),
        (["probe", "x"], "no file 'x', and no training of that name under runs/: there is demo-best, plain"),
    ],
)
def test_a_run_or_model_that_is_not_there_is_answered_with_those_that_are(runs, words, sentence):
    result = asked("search", *words)
    assert (result.exit_code, result.output.strip()) == (2, sentence)


# ---- help ----

HELP = [["run_search.py"], ["search"], *(["search", name] for name in main.commands)]


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_fits_one_screen(words):
    lines = asked(*words, "--help").output.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= (24 if words == ["search"] else 40)


def test_each_command_is_told_in_a_line_of_its_own():
    lines = asked("search", "--help").output.splitlines()
    for name, command in main.commands.items():
        assert f"  {name:<10}{command.short_help}" in lines
        assert command.short_help.endswith(".")
        assert not command.short_help.endswith("..")


@pytest.mark.parametrize("words", HELP[1:], ids=" ".join)
def test_each_option_says_what_it_is_for(words):
    command = main.commands[words[1]] if len(words) > 1 else main
    assert not [p.name for p in command.params if isinstance(p, click.Option) and not p.help]


@pytest.mark.parametrize("program", [["run_search.py"], ["-m", "search"]])
def test_the_version_is_that_of_the_project(program):
    done = subprocess.run([sys.executable, *program, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert done.stdout == f"{project['name']} {project['version']}\n"
