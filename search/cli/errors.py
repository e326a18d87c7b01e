"""Click commands that remember their command line and whose usage errors list the available choices."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from search.cli.authors_flags import explain
from search.cli.terminal import fit
from search.experiment.program import ENDINGS
from search.experiment.start_command import start_from_here


def _with_choices(error: click.UsageError, there: Iterable[str]) -> click.UsageError:
    """Add the available choices to the error, unless click already suggests a similar one."""
    if getattr(error, "possibilities", None):
        return error
    return click.UsageError(f"{error.format_message()} Available: {', '.join(there)}.", error.ctx)


def _options(command: click.Command, context: click.Context) -> list[str]:
    return [max(p.opts, key=len) for p in command.get_params(context) if isinstance(p, click.Option)]


@contextmanager
def _wrapped() -> Iterator[None]:
    """Fit usage errors to the terminal, and their commands to the working folder."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message()
        said = fit(f"Error: {' '.join(message.split()) if sys.stderr.isatty() else message}")
        raise click.UsageError(said.removeprefix("Error: "), error.ctx) from None


WORDS = f"{__name__}.words"


def command_line(*more: str, without: str | None = None) -> str:
    """Return the current command line, for the user to repeat.

    Args:
        more: words to append if they are not part of it yet.
        without: word to omit.
    """
    context = click.get_current_context()
    words = [word for word in context.meta[WORDS] if word != without]
    again = ["uv", "run", *context.command_path.split(), *words, *(m for m in more if m not in words)]
    return start_from_here(shlex.join(again))


def typed_file() -> list[str]:
    """Return the FILE of the current command line and its assignments, as typed; empty without a FILE."""
    given = click.get_current_context().params
    return [str(given["file"]), *given.get("assignments", ())] if "file" in given else []


class Command(click.Command):
    """Command that stores its command line and lists its options when one is unknown."""

    def make_context(self, *args: Any, **others: Any) -> click.Context:
        with _wrapped():
            return super().make_context(*args, **others)

    def invoke(self, ctx: click.Context) -> Any:
        with _wrapped():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            there = _options(self, ctx)
            if said := explain(ctx.meta[WORDS], there):
                raise click.UsageError(said, ctx) from None
            if "." in error.option_name:
                raise click.UsageError(
                    f"{error.option_name} is no option: keys are written without dashes, as `trial.epochs=2`", ctx
                ) from None
            raise _with_choices(error, there) from None


def refuse_command(word: str, others: Sequence[str], commands: Collection[str]) -> None:
    """Raise a usage error if the FILE of `run_search.py` is the name of another command, and no file.

    Args:
        word: word in the place of FILE.
        others: words that follow.
        commands: names of the commands of `python -m search`.
    """
    if word in commands and not Path(word).exists():
        meant = shlex.join(["uv", "run", "python", "-m", "search", word, *others])
        raise click.UsageError(f"expected an experiment file, but {word} is a command: `{meant}`")


def _search_meant(words: Sequence[str]) -> str | None:
    """Return the command of a search if that is meant by an unknown command: `search` or an experiment file."""
    word, *more = words
    rest = more if word == "search" else words
    if word == "search" or Path(word).suffix in ENDINGS:
        return shlex.join(["uv", "run", "run_search.py", *(rest or ["FILE"])])
    return None


class Group(Command, click.Group):
    """Group of commands that lists them when one is unknown."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if meant := _search_meant(args):
                raise click.UsageError(f"{error.format_message()} A search is started by: `{meant}`", ctx) from None
            raise _with_choices(error, self.list_commands(ctx)) from None
