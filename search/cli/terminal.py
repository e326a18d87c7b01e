"""Messages on stderr: wrapped at words on a terminal, a line per message elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from search.experiment.escaping import escape_controls
from search.experiment.start_command import start_from_here

ERASE = "\r\x1b[2K"  # go to the start of the line and clear it


def open_streams() -> None:
    """Open the null device for each standard stream that is closed, as cron and some daemons leave them.

    Otherwise the next file that is opened takes the stream's number, and messages are written into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


class _Escaped:
    """Stream that shows control characters in what is written to it as escapes.

    Attributes:
        rich_proxied_file: stream that rich's consoles write to instead, see `search.console.screen.Screen`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self._stream.write(escape_controls(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_output() -> None:
    """Show control characters in everything that is printed from now on as escapes, also in what libraries print.

    A name in a file could otherwise command the terminal.
    """
    for name in ("stdout", "stderr"):
        setattr(sys, name, _Escaped(getattr(sys, name)))


def _inner(stream: TextIO) -> TextIO:
    """Return the stream to which control sequences of our own can be written."""
    return getattr(stream, "rich_proxied_file", stream)


def say(text: str, hang: str = "") -> None:
    """Print a message on stderr; see `fit`."""
    click.echo(fit(text, hang), err=True)


def fit(text: str, hang: str = "") -> str:
    """Wrap a message at words to the width of stderr, if that is a terminal; its commands work in the working folder.

    Args:
        text: message. Its indented lines are commands and stay whole.
        hang: indent of all lines but the first.
    """
    text = start_from_here(text)
    if not sys.stderr.isatty():
        return text
    from rich.console import Console

    from search.console.wrapping import wrap_message

    return wrap_message(text, Console(stderr=True).width, hang)


def tell_errors(heading: str, sentences: Sequence[str]) -> None:
    """Print errors on stderr: a list with a heading if there are several."""
    if len(sentences) == 1:
        say(sentences[0])
        return
    say(heading)
    for sentence in sentences:
        say(f"- {sentence}", hang="  ")


class _Watched:
    """Stream that calls a function before the first text is written to it."""

    def __init__(self, stream: TextIO, before: Callable[[], None]) -> None:
        self._stream, self._before = stream, before

    @property
    def rich_proxied_file(self) -> _Watched:
        return _Watched(_inner(self._stream), self._before)

    def write(self, text: str) -> int:
        self._before()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


@contextmanager
def loading() -> Iterator[None]:
    """Show "loading …" on a terminal until the first output comes, because the imports take seconds."""
    if not sys.stderr.isatty():
        yield
        return
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    is_shown = True

    def erase() -> None:
        nonlocal is_shown
        if not is_shown:
            return
        is_shown = False
        for name, stream in streams.items():
            if getattr(sys, name) is watched[name]:  # not redirected since
                setattr(sys, name, stream)
        _write(_inner(streams["stderr"]), ERASE)

    # kept until the end: `print` only borrows its stream, which must outlive the first text
    watched = {name: _Watched(stream, erase) for name, stream in streams.items()}
    _write(sys.stderr, "loading …")
    sys.stdout, sys.stderr = watched.values()
    try:
        yield
    finally:
        erase()
