"""Messages on a terminal and in a pipe."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from search.cli.terminal import ERASE, fit, loading, say, tell_errors
from search.console.notes import print_note
from tests.support import ROOT
from tests.support.tells import tells
from tests.support.terminals import COLUMNS, run_in_terminal, screen

WRONG = """name: mine
dataset: {name: digits}
trial: {epoch: 3, fusion: concatt}
search: {trails: 3, sampler: bayes}
"""
COMMAND = "  uv run run_search.py " + " ".join(f"space.key{n}=[1,2,3]" for n in range(10))


class Terminal(io.StringIO):
    """Terminal without a device: 80 columns wide, as COLUMNS says."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let stderr be a terminal."""
    stream = Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def words(count: int) -> str:
    return " ".join(f"word{n}" for n in range(count))


def test_a_message_is_wrapped_at_words_on_a_terminal(monkeypatch):
    terminal = on_terminal(monkeypatch)
    said = f"{words(30)} (name=demo-2)"
    say(f"{said}\n{COMMAND}")
    *lines, command = terminal.getvalue().splitlines()
    assert command == COMMAND
    assert max(map(len, lines)) <= 80
    assert " ".join(lines) == said
    assert all(line == line.strip() for line in lines)


def test_the_lines_of_an_error_in_a_list_hang(monkeypatch):
    terminal = on_terminal(monkeypatch)
    tell_errors("2 errors in f.yaml:", [f"line 1: {words(30)}", "line 2: short"])
    heading, first, *others, last = terminal.getvalue().splitlines()
    assert (heading, last) == ("2 errors in f.yaml:", "- line 2: short")
    assert first.startswith("- line 1: word0 ")
    assert others
    assert all(re.match(r"  \w", line) and len(line) <= 80 for line in others)


def test_a_message_in_a_pipe_is_one_line(capsys):
    tell_errors("2 errors:", [words(30), words(40)])
    assert capsys.readouterr().err.splitlines() == ["2 errors:", f"- {words(30)}", f"- {words(40)}"]
    assert fit(words(30), hang="  ") == words(30)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_note_is_wrapped_on_a_terminal_only(is_terminal):
    stream = io.StringIO()
    print_note(
        Console(file=stream, width=80, force_terminal=is_terminal, no_color=True, color_system=None),
        f"{words(30)} repeat:\n{COMMAND}",
    )
    *lines, command = stream.getvalue().splitlines()
    assert command == COMMAND
    assert " ".join(lines) == f"note: {words(30)} repeat:"
    assert (len(lines) > 1 and max(map(len, lines)) <= 80) == is_terminal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run_search.py", "x.yaml", "--dry-run", "--resume"], "Error: --dry-run estimates a whole search and"),
        (["-m", "search", "probe", "demo", "--curve", "--split", "test", "--unimodal"], "Error: remove --split test"),
        (["-m", "search", "verdict"], "Error: No such command 'verdict'. Available:"),
        (["-m", "search", "confirm", "demo", "--xyz"], "Error: No such option '--xyz'. Available: --seeds"),
    ],
)
def test_a_usage_error_is_wrapped_on_a_terminal_only(arguments, said):
    command = shlex.join([sys.executable, *arguments])
    shown = run_in_terminal(["sh", "-c", f"{command}; test $? = 2"], ROOT).replace("\r\n", "\n")
    piped = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stderr
    assert max(map(len, shown.splitlines())) <= COLUMNS
    *_, line = piped.splitlines()
    assert line.startswith(said)
    assert " ".join(shown.split()) == " ".join(piped.split())
    assert set(shown.split()) == set(piped.split())  # no word is broken


# ---- loading ----


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_loading_is_erased_by_the_first_output(monkeypatch, stream):
    terminal = on_terminal(monkeypatch)
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    with loading():
        assert terminal.getvalue() == "loading …"
        print("first", file=getattr(sys, stream))
        print("second", file=getattr(sys, stream))
        assert sys.stdout is stdout
        assert sys.stderr is terminal
    both = "first\nsecond\n"
    assert terminal.getvalue() == f"loading …{ERASE}" + both * (stream == "stderr")
    assert stdout.getvalue() == both * (stream == "stdout")


def test_loading_is_erased_when_nothing_is_printed_or_an_error_comes(monkeypatch):
    terminal = on_terminal(monkeypatch)
    with pytest.raises(ValueError, match="odd"), loading():
        raise ValueError("odd")
    assert terminal.getvalue() == f"loading …{ERASE}"
    assert sys.stderr is terminal


def test_a_redirection_survives_the_first_output(monkeypatch):
    terminal = on_terminal(monkeypatch)
    inner = io.StringIO()
    with loading():
        with redirect_stdout(inner):
            print("warning", file=sys.stderr)
            print("kept")
        print("later", file=sys.stderr)
    assert inner.getvalue() == "kept\n"
    assert terminal.getvalue() == f"loading …{ERASE}warning\nlater\n"


def test_nothing_is_said_of_loading_in_a_pipe(capsys):
    with loading():
        print("here")
    assert capsys.readouterr() == ("here\n", "")


def test_the_errors_of_a_file_on_a_terminal(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(WRONG, encoding="utf-8")
    command = f"cd {shlex.quote(str(tmp_path))} && {sys.executable} {ROOT / 'run_search.py'} mine.yaml trial.seed=x"
    shown = screen(run_in_terminal(["sh", "-c", f"{command}; test $? = 2"], tmp_path))
    lines = shown.splitlines()
    assert "loading" not in shown
    assert max(map(len, lines)) <= COLUMNS
    assert " ".join(lines).count("mine.yaml") == 1
    tells(shown, "5 errors in", "- command line: `trial.seed`", "- line 3: `trial.epoch`", "- line 4: `search.trails`")
    tells(shown, "did you mean `trial.epochs`?", "did you mean `concat`?", "did you mean `search.trials`?", "'bayes'")

    piped = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert piped.returncode == 2
    assert len(piped.stderr.splitlines()) == 6
    tells(piped.stderr, *(line for line in lines if line.startswith("- ")))
