"""The `ltxcore` command: one module a command, each imported only when it is asked for."""

from ltxcore.cli._app import app, main

__all__ = ["app", "main"]
