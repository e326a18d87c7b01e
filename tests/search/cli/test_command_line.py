"""Help texts, usage errors and interruptions of the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from search.cli.main import main, search_command
from search.experiment.load import load
from tests.support import ROOT
from tests.support.tells import tells

COMMANDS = ", ".join(sorted(main.commands))


def asked(*words: str) -> Result:
    """Run a command line as typed after `uv run`."""
    program, command = ("run_search.py", search_command) if words[0] == "run_search.py" else ("python -m search", main)
    return CliRunner().invoke(command, list(words[1:]), prog_name=program, terminal_width=80)


# ---- errors list the choices ----


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["search", "verdict"], ("'verdict'", COMMANDS)),
        (["search", "confrim", "demo"], ("'confrim'", "'confirm'")),
        (["search", "--xyz"], ("'--xyz'", "--version, --help")),
        (["search", "confirm", "demo", "--xyz"], ("'--xyz'", "--seeds, --sequential, --test, --help")),
        (["search", "confirm", "demo", "--seed", "3"], ("'--seed'", "'--seeds'")),
        (["search", "ui", "demo", "--port", "99999999"], ("'--port'", "99999999", "0<=x<=65535")),
        (["search", "ui", "demo", "--port", "65536"], ("'--port'", "65536", "0<=x<=65535")),
        (["search", "export", "demo", "-x"], ("'-x'", "--output, --trial, --optuna, --help")),
        (["search", "probe", "demo", "--split", "tset"], ("'--split'", "'tset'", "'validation', 'test'")),
        (["run_search.py", "x.yaml", "--dry"], ("'--dry'", "'--dry-run'")),
        (["run_search.py", "x.yaml", "--xyz"], ("'--xyz'", "--resume, --dry-run, --version, --help")),
    ],
)
def test_what_is_unknown_is_answered_with_what_there_is(words, facts):
    result = asked(*words)
    _, _, message = result.output.partition("Error:")
    assert result.exit_code == 2
    tells(message, *facts)
    assert named(message) == named(" ".join(facts))  # and no other choices


def named(message: str) -> set[str]:
    """Return the options and commands that a message names."""
    return {word for word in re.findall(r"[\w-]+", message) if word in main.commands or word.startswith("-")}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with several runs, two of which are single trainings."""
    for name in ("demo", "demo-best", "vggsound"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "experiment.yaml").touch()
    for name in ("demo-best", "plain"):
        (tmp_path / "runs" / name).mkdir(exist_ok=True)
        (tmp_path / "runs" / name / "best.pt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "there", "meant"),
    [
        (["export", "dmo"], "demo, demo-best, vggsound", "`demo`"),
        (["ui", "cremad"], "demo, demo-best, vggsound", None),
        (["evaluate", "palin"], "demo-best, plain", "`plain`"),
        (["probe", "x"], "demo-best, plain", None),
    ],
)
def test_a_run_or_model_that_is_not_there_is_answered_with_those_that_are(runs, words, there, meant):
    result = asked("search", *words)
    [line] = result.output.splitlines()
    assert result.exit_code == 2
    tells(line, f"'{words[1]}'", "runs/", there)
    assert re.findall("`.*?`", line) == [meant] * (meant is not None)


def test_a_page_of_a_run_whose_experiment_is_corrupt_is_refused(runs):
    (runs / "runs" / "demo" / "experiment.yaml").write_text("name: [", encoding="utf-8")
    (runs / "runs" / "demo" / "run.json").write_text("{}", encoding="utf-8")
    result = asked("search", "ui", "demo")
    assert result.exit_code == 2
    tells(result.output, "runs/demo/experiment.yaml", "is corrupt", "--resume")


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


def examples() -> list[str]:
    """Return the command lines in all help texts, the continued ones joined."""
    texts = [asked(*words, "--help").output.replace("\\\n", "") for words in HELP]
    lines = [" ".join(line.split()) for text in texts for line in text.splitlines()]
    return [line for line in lines if line.startswith(("run_search.py ", "python -m search "))]


@pytest.mark.parametrize("line", examples())
def test_each_example_is_valid(monkeypatch, line):
    monkeypatch.chdir(ROOT)
    name, *words = shlex.split(line.removeprefix("python -m search "))
    command = search_command if name == "run_search.py" else main.commands[name]
    given = command.make_context(name, words).params
    file = given.get("file")
    if file is not None and file.is_file():
        load(file, given["assignments"], only_trial=name == "train")


def test_the_help_has_examples():
    assert len(examples()) >= 12


@pytest.mark.parametrize("words", HELP[1:], ids=" ".join)
def test_each_option_says_what_it_is_for(words):
    command = main.commands[words[1]] if len(words) > 1 else main
    assert not [p.name for p in command.params if isinstance(p, click.Option) and not p.help]


@pytest.mark.parametrize("program", [["run_search.py"], ["-m", "search"]])
def test_the_version_is_that_of_the_project(program):
    done = subprocess.run([sys.executable, *program, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert done.stdout == f"{project['name']} {project['version']}\n"


INTERRUPTED = [  # what is typed, what it calls, the words to add for resuming
    (["run_search.py", "mine.yaml", "space.fusion=[sum, film]", "--resume"], "search.commands.search.search", []),
    (["run_search.py", "mine.yaml", "search.trials=4"], "search.commands.search.search", ["--resume"]),
    (["python -m search", "confirm", "--test", "demo", "--seeds", "3"], "search.commands.confirm.confirm_run", []),
    (["python -m search", "export", "demo", "-o", "x y.yaml", "--trial", "3"], "search.report.export.export_run", []),
    (["python -m search", "train", "--workers", "2", "mine.yaml"], "search.commands.train.train", ["--resume"]),
    (["python -m search", "report", "demo", "-o", "page.html"], "search.report.page.write_report", []),
]


@pytest.mark.parametrize(("words", "called", "more"), INTERRUPTED)
def test_an_interruption_names_what_was_typed(tmp_path, monkeypatch, words, called, more):
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "mine"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for path in ("mine.yaml", "runs/demo/experiment.yaml", "runs/mine/experiment.yaml"):
        (tmp_path / path).write_text("name: mine\ndataset: {name: digits}\nspace: {fusion: [concat, sum]}\n")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(called, interrupt)
    program, *rest = words
    result = CliRunner().invoke(search_command if program == "run_search.py" else main, rest)
    assert result.exit_code == 130, result.output
    assert result.stderr.rstrip().endswith(f"uv run {program} {shlex.join([*rest, *more])}")
    assert "completed work is saved" in result.stderr


def test_an_interrupted_dry_run_has_nothing_to_keep(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.commands.estimate.dry_run", interrupt)
    words = [str(ROOT / "experiments" / "demo.yaml"), "--dry-run"]
    result = CliRunner().invoke(search_command, words)
    assert result.exit_code == 130
    assert "saved" not in result.stderr
    assert result.stderr.rstrip().endswith(f"uv run run_search.py {shlex.join(words)}")
