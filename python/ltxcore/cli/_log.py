"""The library's log on the command line."""

import logging
import sys

LEVELS = ["debug", "info", "warning", "error"]


def start_log(level: str) -> None:
    """Send the library's log to stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True
    )
