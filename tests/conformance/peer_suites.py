"""The test suites of others that use SQLite from Python: what is installed, what is run, and which differences are meant.

Versions are pinned, so that a difference is one of ours. Sources come from PyPI; nothing of them is kept here. Peewee is left
out: what it has there lacks its tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PYTEST = ("-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:randomly")


@dataclass(frozen=True, slots=True)
class Suite:
    """One of them."""

    name: str
    #: What pip installs.
    packages: tuple[str, ...]
    #: What Python is given.
    arguments: tuple[str, ...]
    #: What has the tests, if those that are installed have none; and the folder in it where they are run.
    source: str = ""
    folder: str = "."
    #: Files that it needs besides; `DIRECTORY` in them stands for one that may be written to.
    files: dict[str, str] = field(default_factory=dict, hash=False)
    #: The module whose SQLite gets the VFS.
    module: str = "sqlite3"


DJANGO_SETTINGS = """\
DATABASES = {
    name: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"DIRECTORY/{name}",
        "TEST": {"NAME": f"DIRECTORY/test-{name}"},
    }
    for name in ("default", "other")
}
SECRET_KEY, USE_TZ, DEFAULT_AUTO_FIELD = "x", False, "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
#: What of Django's tests has to do with a database; the rest is the same for all of them.
DJANGO_LABELS = (
    *("backends", "transactions", "transaction_hooks", "select_for_update", "get_or_create", "cache"),
    *("delete", "bulk_create", "test_utils", "fixtures", "queries", "migrations", "schema", "basic"),
)
DJANGO_RUN = ("runtests.py", "--settings=file_sqlite", "--parallel=1", "--noinput")

SUITES = (
    Suite("apsw", ("apsw==3.54.1.0",), ("-m", "apsw.tests", "-v"), module="apsw"),
    Suite(
        "diskcache",
        ("diskcache==5.6.3", "pytest==9.2.0", "pytest-django==4.14.0", "django==5.2.19"),
        (*PYTEST, *(f"tests/test_{name}.py" for name in ("core", "deque", "index", "recipes", "fanout"))),
        source="diskcache==5.6.3",
    ),
    Suite(
        "sqlitedict",
        ("sqlitedict==2.1.0", "pytest==9.2.0"),
        (*PYTEST, "tests"),
        source="sqlitedict==2.1.0",
        files={"tests/db/.keep": ""},
    ),
    Suite(
        "aiosqlite",
        ("aiosqlite==0.22.1",),
        ("-m", "unittest", "-v", "aiosqlite.tests"),
        source="aiosqlite==0.22.1",
    ),
    Suite(
        "sqlite-utils",
        ("sqlite-utils==4.2.1", "pytest==9.2.0", "hypothesis==6.170.17", "cogapp==3.6.0"),
        (*PYTEST, "tests"),
        source="sqlite-utils==4.2.1",
    ),
    Suite(
        "sqlalchemy",
        ("sqlalchemy==2.1.9", "aiosqlite==0.22.1", "pytest==9.2.0"),
        (
            *(*PYTEST, "--db", "sqlite_file"),
            *("test/dialect/sqlite", "test/dialect/test_suite.py", "test/engine"),
        ),
        source="sqlalchemy==2.1.9",
    ),
    Suite(
        "django",
        ("django==5.2.19",),
        ("-W", "ignore", *DJANGO_RUN, *DJANGO_LABELS),
        source="django==5.2.19",
        folder="tests",
        files={"tests/file_sqlite.py": DJANGO_SETTINGS},
    ),
)

#: Tests that may fail over our VFS alone, by their suite. `docs/vfs.md` says the same.
KNOWN: dict[str, dict[str, str]] = {
    "diskcache": {
        "tests/test_core.py::test_pragmas": "it sets mmap_size, and reads are never mapped",
    },
}
