"""Click commands that remember their command line and whose usage errors list the available choices."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from search.cli.authors_flags import explain
from search.cli.terminal import fit
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
    """Wrap usage errors at words if stderr is a terminal."""
    try:
        yield
    except click.UsageError as error:
        if not sys.stderr.isatty():
            raise
        said = fit(f"Error: {' '.join(error.format_message().split())}")
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
            raise _with_choices(error, there) from None


class Group(Command, click.Group):
    """Group of commands that lists them when one is unknown."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _with_choices(error, self.list_commands(ctx)) from None
