"""The root of the command line: which commands there are, and how errors leave the process.

Exit codes: 0 done, 1 failed, 2 misused, 3 another writer has the replica.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import sqlite3
from typing import IO, Any

import click

from ltxcore.cli._options import SETTINGS, GoArguments, option
from ltxcore.errors import (
    BehindReplicaError,
    ConfigError,
    Error,
    InternalError,
    LeaseLostError,
    LTXFileExistsError,
    ReplicaReadOnlyError,
)

COMMANDS = (
    "blob",
    "convert",
    "doctor",
    "file",
    "generations",
    "listing",
    "ltx",
    "replicate",
    "restore",
    "snapshots",
    "verify",
    "version",
    "wal",
)


class Failure(click.ClickException):
    """An error of ours as the last words of the process: what happened, then what to do about it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(describe(error))
        self.hint = getattr(error, "hint", None)
        if isinstance(error, InternalError):
            self.hint = "this is a defect of ltxcore; please report it with the whole message"

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to stderr."""
        super().show(file)
        if self.hint:
            click.echo(f"Hint: {self.hint}", file=file, err=True)


class Misuse(Failure):
    """A setting that cannot work."""

    exit_code = 2


class Conflict(Failure):
    """Another writer has the replica. A supervisor that starts the command again would take it away from that one."""

    exit_code = 3


def describe(error: Exception) -> str:
    """One line about an error; the system's own errors name the file first, as other tools do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or type(error).__name__


class App(GoArguments, click.Group):
    """The group of all commands, which imports the module of a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, sorted."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"ltxcore.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101  (for the type checker)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; of one that there is not, click knows no near names."""
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if near and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it could not do becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (Error, OSError, sqlite3.Error) as error:
            if getattr(error, "errno", None) == errno.EPIPE:
                raise  # a reader like `head` has seen enough; click ends quietly
            raise failure(error) from error


def failure(error: Exception) -> Failure:
    """What the command ends with because of an error."""
    if isinstance(error, ConfigError | ReplicaReadOnlyError):
        return Misuse(error)
    is_lost = isinstance(error, LeaseLostError) and not error.transient
    if is_lost or isinstance(error, (BehindReplicaError, LTXFileExistsError)):
        return Conflict(error)
    return Failure(error)


def show_version(ctx: click.Context, _param: click.Parameter, is_asked: bool) -> None:
    """What the command `version` prints."""
    if is_asked and not ctx.resilient_parsing:
        import ltxcore

        click.echo(f"ltxcore {ltxcore.__version__}")
        ctx.exit()


@click.command(cls=App, context_settings=SETTINGS)
@option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Print the version.",
)
def app() -> None:
    """Replicate SQLite databases continuously and restore them to any point in time.

    Reads and writes the files of Litestream 0.5 and 0.3. Options may have one dash or two.
    """


def main() -> None:
    """Run the `ltxcore` command with the arguments of the process."""
    app.main(prog_name="ltxcore")
