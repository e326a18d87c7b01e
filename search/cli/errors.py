"""Commands whose mistakes name the choices: what is unknown is answered with what there is, or what is like it."""

from __future__ import annotations

from collections.abc import Iterable

import click


def _with_choices(error: click.UsageError, there: Iterable[str]) -> click.UsageError:
    """The error, with what there is where nothing is like what was asked for."""
    if getattr(error, "possibilities", None):
        return error
    return click.UsageError(f"{error.format_message()} There is {', '.join(there)}.", error.ctx)


def _options(command: click.Command, context: click.Context) -> list[str]:
    return [max(p.opts, key=len) for p in command.get_params(context) if isinstance(p, click.Option)]


class Command(click.Command):
    """Names its options where one is unknown."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
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
