"""The application's log, as our threads write to it."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import MutableMapping

#: Where messages go: the application's logger, or one that says what they are about.
Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


class About(logging.LoggerAdapter[logging.Logger]):
    """The same logger, with a few words before each message."""

    def __init__(self, logger: logging.Logger, about: str) -> None:
        super().__init__(logger)
        # A % would be taken for a placeholder.
        self._about = about.replace("%", "%%")

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """See :meth:`logging.LoggerAdapter.process`."""
        return f"{self._about}: {msg}", kwargs


class Log:
    """A logger whose handlers and filters may raise: that ends nothing of ours.

    The traceback goes to stderr, as it does for an error inside one of the handlers of :mod:`logging`.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def info(self, message: str, *args: object) -> None:
        """See :meth:`logging.Logger.info`."""
        self._emit(logging.INFO, message, args)

    def warning(self, message: str, *args: object) -> None:
        """See :meth:`logging.Logger.warning`."""
        self._emit(logging.WARNING, message, args)

    def error(self, message: str, *args: object) -> None:
        """See :meth:`logging.Logger.error`."""
        self._emit(logging.ERROR, message, args)

    def _emit(self, level: int, message: str, args: tuple[object, ...]) -> None:
        try:
            self._logger.log(level, message, *args, stacklevel=3)
        except BaseException as error:
            # Ctrl-C belongs to the thread that it came to; no thread of ours is one of these.
            if isinstance(error, KeyboardInterrupt) and not _is_ours(threading.current_thread()):
                raise
            if logging.raiseExceptions:
                traceback.print_exc()


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("ltxcore-")
