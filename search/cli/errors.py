"""Commands that know their command line, and whose mistakes name the choices: what there is, or what is like it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import click


def _with_choices(error: click.UsageError, there: Iterable[str]) -> click.UsageError:
    """The error, with what there is where nothing is like what was asked for."""
    if getattr(error, "possibilities", None):
        return error
    return click.UsageError(f"{error.format_message()} There is {', '.join(there)}.", error.ctx)


def _options(command: click.Command, context: click.Context) -> list[str]:
    return [max(p.opts, key=len) for p in command.get_params(context) if isinstance(p, click.Option)]


WORDS = f"{__name__}.words"


def command_line(*more: str, without: str | None = None) -> str:
    """Return the command line that is being run, for the user to type again.

    Args:
        more: words that are added at its end, where they are not in it.
        without: a word that is omitted.
    """
    context = click.get_current_context()
    words = [word for word in context.meta[WORDS] if word != without]
    return shlex.join(["uv", "run", *context.command_path.split(), *words, *(m for m in more if m not in words)])


class Command(click.Command):
    """Names its options where one is unknown, and keeps the command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _with_choices(error, _options(self, ctx)) from None


class Group(Command, click.Group):
    """Names its commands, too."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _with_choices(error, self.list_commands(ctx)) from None
