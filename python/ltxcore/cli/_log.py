"""The library's log on the command line."""

import logging
import sys

LEVELS = ["debug", "info", "warning", "error"]


def start_log(level: str) -> None:
    """Send the library's log to stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    # Of what happens inside boto3, only what goes wrong is about the database.
    for library in ("boto3", "botocore", "s3transfer", "urllib3"):
        logging.getLogger(library).setLevel(logging.WARNING)
