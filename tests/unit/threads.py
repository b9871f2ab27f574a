"""The threads of a DB, and what is raised to end them."""

import threading

from ltxcore import DB


class Stop(BaseException):
    """What a test framework or a web server raises to unwind a thread."""


def thread_of(db: DB, what: str) -> threading.Thread:
    return next(each for each in threading.enumerate() if each.name == f"ltxcore-{what} {db.path.name}")
