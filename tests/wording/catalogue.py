"""Entries of the catalogue: provoking the output and writing it as Markdown."""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from search.cli.main import main, search_command
from tests.support import ROOT

HERE = Path(__file__).parent
WIDTH = 80
RENEW = "uv run python -m tests.wording"
PROGRAMS = {"run_search.py": search_command, "python -m search": main}
MEASURED = (
    (r"\b0x[0-9a-f]{6,}\b", "<address>"),
    (r"\S+ clips/s [-\d:]+", "<speed>"),
    (r"(clips in \S+, )\d+ s", r"\1<time>"),
    (r"has [\d,]+ bytes instead of [\d,]+\b", "has <size> bytes instead of <size>"),
)
ENVIRONMENT = (  # variables that change the output
    "FORCE_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "RAY_ADDRESS",
    "MLFLOW_TRACKING_URI",
    "OGMGE_STORES",
)


@dataclass(frozen=True)
class Entry:
    """One case of the catalogue and its output.

    Args:
        title: title, unique in the catalogue.
        asked: files, command or code that lead to the output, in Markdown.
        printed: output, with placeholders for everything that depends on the machine.
        code: exit code of the command; None if there is no command.
    """

    title: str
    asked: str
    printed: str
    code: int | None = None

    def __str__(self) -> str:
        end = "" if self.code is None else f"\n[exit code {self.code}]"
        return f"## {self.title}\n\n{self.asked}{self.printed.rstrip()}{end}\n```\n"


@dataclass(frozen=True)
class Chapter:
    """Entries of one subject.

    Args:
        name: name of the module and of the file.
        title: heading of the file.
        entries: function that provokes the entries.
    """

    name: str
    title: str
    entries: Callable[[], Iterator[Entry]]

    @property
    def file(self) -> Path:
        """Markdown file of the chapter."""
        return HERE / f"{self.name}.md"


def provoked(chapter: Chapter) -> list[Entry]:
    """Provoke all entries of a chapter, without starting Ray or a training."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", str(WIDTH))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr("ray.init", _refused)
        patch.setattr("ogmge.fit.train", _refused)
        try:
            return list(chapter.entries())
        finally:
            torch.set_num_threads(threads)  # a dry run changes it to that of a trial


def written(chapter: Chapter, entries: list[Entry]) -> str:
    """Return the content of a chapter's file."""
    note = f"`{RENEW}` writes this file. Angle brackets replace everything that depends on the machine."
    return "\n".join([f"# {chapter.title}\n\n{note}\n", *map(str, entries)])


def _refused(*_: object, **__: object) -> None:
    raise AssertionError("the catalogue must not start Ray or a training")


# ---- kinds of entries ----


def commanded(title: str, line: str, *lay: Callable[[], object], file: str | None = None, given: str = "") -> Entry:
    """Run a command in a new folder, in this process.

    Args:
        title: title of the entry.
        line: the command, without `uv run`.
        lay: functions that prepare the working folder.
        file: content of `mine.yaml`.
        given: sentence about everything else that is prepared.
    """
    with new_folder() as folder:
        if file is not None:
            Path("mine.yaml").write_text(file, encoding="utf-8")
        for step in lay:
            step()
        printed, code = _run(line)
        printed = plain(printed, folder)
    shown = f"```yaml\n{file.rstrip()}\n```\n\n" if file is not None else ""
    return Entry(title, f"{_sentence(given)}{shown}```console\n$ uv run {line}\n", printed, code)


def called(title: str, code: str, names: dict[str, object]) -> Entry:
    """Run Python that raises or warns.

    Args:
        title: title of the entry.
        code: code as a user would write it.
        names: imports and values that the code uses.
    """
    with new_folder() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(code, dict(names))  # the catalogue shows exactly this code
            raised = ""
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
        said = [f"{w.category.__name__}: {w.message}" for w in caught if issubclass(w.category, UserWarning)]
        printed = plain("\n".join([*said, raised]), folder)
    return Entry(title, f"```python\n{code.strip()}\n```\n\n```text\n", printed)


def drawn(title: str, given: str, text: str) -> Entry:
    """Return an entry with the text that a pure function returned for made-up results.

    Args:
        title: title of the entry.
        given: sentence about the made-up results.
        text: text that the function returned.
    """
    return Entry(title, f"{_sentence(given)}```text\n", "\n".join(line.rstrip() for line in text.splitlines()))


def nothing() -> None:
    """Prepare nothing."""


def on_screen(draw: Callable[[Console], object]) -> str:
    """Return the output on a console that is not a terminal."""
    file = io.StringIO()
    draw(Console(file=file, width=WIDTH))
    return file.getvalue()


def _sentence(text: str) -> str:
    return f"{text}\n\n" if text else ""


# ---- running ----


@contextmanager
def new_folder() -> Iterator[Path]:
    """Work in an empty folder; restore the working folder and `sys.path` afterwards."""
    before, path = Path.cwd(), list(sys.path)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)
            sys.path[:] = path


@contextmanager
def _logs_of_its_own() -> Iterator[None]:
    """Let a command set up logging as in its own process, and restore logging and signals afterwards."""
    root, stop = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    handlers, level, root.handlers = root.handlers, root.level, []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        signal.signal(signal.SIGTERM, stop)


def _run(line: str) -> tuple[str, int]:
    """Return the output of a command and its exit code."""
    program = next(name for name in PROGRAMS if line.startswith(name))
    words = shlex.split(line.removeprefix(program))
    with _logs_of_its_own():
        result = CliRunner().invoke(PROGRAMS[program], words, prog_name=program, terminal_width=WIDTH)
    output = result.output
    if result.exc_info is not None and not isinstance(result.exception, SystemExit | None):
        output += "".join(traceback.format_exception(*result.exc_info))
    return "\n".join(text.rstrip() for text in output.splitlines()), result.exit_code


def plain(text: str, folder: Path) -> str:
    """Replace everything that depends on the machine: folders, memory addresses, measured times."""
    for place, name in ((folder.resolve(), "<tmp>"), (folder, "<tmp>"), (ROOT, "<project>"), (Path.home(), "<home>")):
        text = re.sub(rf"{re.escape(str(place))}(?![\w.-])", name, text)
    for pattern, name in MEASURED:
        text = re.sub(pattern, name, text)
    return text
