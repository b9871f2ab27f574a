"""Write docs/cli.md from the parser, or with --check fail if it says anything else."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ltxcore.cli import app

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# Command line

Generated from the parser by `make docs-update`; `make docs` fails when the two differ.

* **Exit codes**: 0 done, 1 failed, 2 wrong arguments or settings, 3 another process writes to the replica.
* **Output**: results go to stdout, messages to stderr.
* **Options**: a long option may have one dash, as in Litestream (`-txid`, `-if-db-not-exists`, `-json=false`). Every
  command takes `-h` and `--help`.
* **Replicas**: a URL (`file:///backups/app`) or the path of a directory. An empty path or URL is an error.
* **Durations**: seconds, or texts such as `250ms`, `1h30m`, `7d`.
* **Sizes**: bytes, or texts such as `512MiB`, `1.5GB`. `512M` is `512MB`, 512 million bytes, as in a configuration file.

A default in brackets, such as `[stdout]`, is used if the option is not given.
"""


def commands(
    name: str, command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, click.Command]]:
    """Every command below one, with its full name."""
    with click.Context(command, info_name=name, parent=parent) as ctx:
        if not isinstance(command, click.Group):
            yield ctx.command_path, command
            return
        for each in command.list_commands(ctx):
            found = command.get_command(ctx, each)
            assert found is not None, each
            yield from commands(each, found, ctx)


def section(path: str, command: click.Command) -> Iterator[str]:
    """One command: usage, description, options."""
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    usage = " ".join([path, "[OPTIONS]", *(argument_name(each) for each in arguments)])
    yield f"\n## {path}\n\n```\n{usage}\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    yield "| Option | Default | Meaning |\n|---|---|---|"
    for param in command.params:
        if isinstance(param, click.Option):
            yield "| " + " | ".join(option_cells(param)) + " |"


def argument_name(argument: click.Argument) -> str:
    """How an argument is shown in the usage line."""
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def option_cells(option: click.Option) -> tuple[str, str, str]:
    """Spellings, default and meaning of an option."""
    names = [
        name for name in [*option.opts, *option.secondary_opts] if len(name) == 2 or name.startswith("--")
    ]
    spelling = ", ".join(f"`{name}`" for name in names)
    if not option.is_flag:
        spelling += f" {value_name(option)}"
    default = "required" if option.required else f"`{option.default}`" if option.show_default else ""
    if option.is_flag:
        default = ""
    return spelling, default, option.help or ""


def value_name(option: click.Option) -> str:
    """What stands behind an option."""
    if isinstance(option.type, click.Choice):
        return " or ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange) and option.type.max is not None:
        return f"{option.type.min}-{option.type.max}"
    return option.metavar or option.type.name.upper()


def main(check: bool) -> None:
    """Write the file or compare it."""
    parts = [line for path, command in commands("ltxcore", app, None) for line in section(path, command)]
    text = HEAD + "\n".join(parts) + "\n"
    if not check:
        TARGET.write_text(text, "ascii")
    elif not TARGET.exists() or TARGET.read_text("ascii") != text:
        sys.exit(f"{TARGET.name} is not what the parser says; run make docs-update")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
