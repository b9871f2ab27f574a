"""Options in two spellings: `--txid X` as GNU tools have it, `-txid X` and `-json=false` as Litestream does."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from ltxcore.cli._types import GENERATION, FullPath

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def is_go(spelling: str) -> bool:
    """Whether this is a long option with one dash."""
    return len(spelling) > 2 and not spelling.startswith("--")


class GoOption(click.Option):
    """An option whose one-dash spellings work, but stay out of help and messages."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option's line in `--help`."""
        with self._gnu_only():
            return super().get_help_record(ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The option's name in an error message."""
        with self._gnu_only():
            return super().get_error_hint(ctx)

    @contextlib.contextmanager
    def _gnu_only(self) -> Iterator[None]:
        spellings, self.opts = self.opts, [name for name in self.opts if not is_go(name)]
        try:
            yield
        finally:
            self.opts = spellings


class GoArguments:
    """Mixed into commands: explicit values of flags, and `-help`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, after turning Go's forms into those that click knows."""
        try:
            return super().parse_args(ctx, gnu_arguments(self, args))  # type: ignore[misc,no-any-return]
        except click.NoSuchOption as error:
            raise whole_option(self, args, error) from None


class Command(GoArguments, click.Command):
    """A command that takes both spellings."""


class Group(GoArguments, click.Group):
    """A group of commands that take both spellings."""

    command_class = Command


def gnu_arguments(command: Any, args: list[str]) -> list[str]:
    """Arguments with `-help` and `-flag=true` rewritten, up to `--`."""
    end = args.index("--") if "--" in args else len(args)
    flags = {name for param in command.params if getattr(param, "is_flag", False) for name in param.opts}
    rewritten = [gnu for arg in args[:end] for gnu in gnu_argument(arg, flags)]
    return rewritten + args[end:]


def gnu_argument(arg: str, flags: set[str]) -> list[str]:
    """One argument as click wants it; a flag that is switched off is no argument at all."""
    name, equals, value = arg.partition("=")
    if arg == "-help":
        return ["--help"]
    if equals and name in flags and value.lower() in TRUTHS:
        return [name] if TRUTHS[value.lower()] else []
    return [arg]


def whole_option(command: Any, args: list[str], error: click.NoSuchOption) -> click.NoSuchOption:
    """The error about an unknown `-name`, which click takes for a bundle of one-letter options."""
    known = [name for param in command.params for name in param.opts if name.startswith("--")]
    typed = [arg.partition("=")[0] for arg in args if is_go(arg) and arg.startswith(error.option_name)]
    if not typed or is_go(error.option_name):
        # click takes the spellings with one dash for options of their own, and too much for near.
        near = difflib.get_close_matches(error.option_name, known, cutoff=0.7)
        return click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
    near = difflib.get_close_matches(f"-{typed[0]}", known)
    return click.NoSuchOption(typed[0], possibilities=near, ctx=error.ctx)


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """An option that also answers to its long names with one dash."""
    spellings = [name[1:] for name in names if name.startswith("--")]
    return click.option(*names, *spellings, cls=GoOption, **attributes)


json_option = option("--json", "as_json", is_flag=True, help="Print JSON on stdout; messages go to stderr.")


generation_option = option("--generation", type=GENERATION, help="List this generation only.")


def config_options(command: F) -> F:
    """Where a database that is named by its path is looked up, and which of its replicas is meant."""
    path = option(
        "-c",
        "--config",
        type=FullPath(),
        help="Configuration file [$LITESTREAM_CONFIG, /etc/litestream.yml].",
    )
    plain = option("--no-expand-env", is_flag=True, help="Do not replace $NAME in the configuration file.")
    name = option(
        "--replica",
        "replica_name",
        metavar="NAME",
        help="Replica to read, by its name or, without one, its type; required if the database has several.",
    )
    return path(plain(name(command)))
