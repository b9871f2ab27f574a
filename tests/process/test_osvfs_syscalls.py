"""What the VFS asks of the kernel: as many syncs as SQLite's own, of the same files in the same order; and its locks.

The lists are documentation as well: `docs/vfs.md` refers to them.
"""

from pathlib import Path

import pytest

from tests.helpers.sqlclient import OK
from tests.helpers.strace import Call, calls, needs_strace, traced

pytestmark = [pytest.mark.process, pytest.mark.timeout(60), needs_strace]

JOURNALS = ("DELETE", "TRUNCATE", "PERSIST", "WAL")
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
CONFIGURATIONS = [(journal, level) for journal in JOURNALS for level in SYNCHRONOUS]

# Of one insert, after others. A journal that is not deleted is made once, so its directory is synced once, before.
SYNCS_OF_AN_INSERT = {
    ("DELETE", "NORMAL"): ["journal", "dir", "db"],
    ("DELETE", "FULL"): ["journal", "dir", "journal", "db"],
    ("DELETE", "EXTRA"): ["journal", "dir", "journal", "db", "dir"],
    ("TRUNCATE", "NORMAL"): ["journal", "dir", "db"],
    ("TRUNCATE", "FULL"): ["journal", "dir", "journal", "db", "journal"],
    ("TRUNCATE", "EXTRA"): ["journal", "dir", "journal", "db", "journal"],
    ("PERSIST", "NORMAL"): ["journal", "dir", "db", "journal"],
    ("PERSIST", "FULL"): ["journal", "dir", "journal", "db", "journal"],
    ("PERSIST", "EXTRA"): ["journal", "dir", "journal", "db", "journal"],
    ("WAL", "NORMAL"): [],
    ("WAL", "FULL"): ["wal"],
    ("WAL", "EXTRA"): ["wal"],
} | {(journal, "OFF"): [] for journal in JOURNALS}


def script(folder: Path) -> list[str]:
    """Everything that syncs: commits, a rollback, one that spilled, one of two files, a checkpoint, VACUUM."""
    return [
        "CREATE TABLE t (x)",
        "INSERT INTO t VALUES (zeroblob(5000))",
        "BEGIN",
        "INSERT INTO t VALUES (2)",
        "ROLLBACK",
        "PRAGMA cache_size=5",
        "BEGIN",
        "WITH n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<60) INSERT INTO t SELECT zeroblob(4000) FROM n",
        "ROLLBACK",
        f"ATTACH '{folder}/two.db' AS two",
        "CREATE TABLE two.u (x)",
        "BEGIN",
        "INSERT INTO t VALUES (3)",
        "INSERT INTO u VALUES (4)",
        "COMMIT",
        "DETACH two",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
    ]


def sync_lists(folder: Path, vfs: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(call, role) of every sync, for every configuration: one process, a folder for each."""
    with traced(folder, "fsync,fdatasync") as (client, trace):
        for journal, level in CONFIGURATIONS:
            (here := folder / f"{journal}-{level}").mkdir()
            assert client.open("it", here / "app.db", vfs) == OK
            pragmas = (f"PRAGMA journal_mode={journal}", f"PRAGMA synchronous={level}")
            assert client.run("it", *pragmas, *script(here)) == OK
            client.close("it")
    return {
        (journal, level): [(call.name, call.role) for call in calls(trace, folder / f"{journal}-{level}")]
        for journal, level in CONFIGURATIONS
    }


def test_syncs_are_those_of_sqlite(tmp_path: Path) -> None:
    """The journal's directory entry above all: without its sync a crash of the machine may lose a hot journal."""
    found = {}
    for vfs in ("unix", "ltx-os"):
        (tmp_path / vfs).mkdir()
        found[vfs] = sync_lists(tmp_path / vfs, vfs)
    assert found["ltx-os"] == found["unix"]
    assert any(role == "dir" for _, role in found["unix"]["DELETE", "FULL"])
    assert any(role == "super" for _, role in found["unix"]["DELETE", "FULL"])


def one_insert(folder: Path, vfs: str, what: str, *pragmas: str) -> list[Call]:
    """The calls of one insert of a connection that has written before. Two other files mark it in the trace."""
    with traced(folder, f"{what},ftruncate") as (client, trace):
        assert client.open("it", folder / "app.db", vfs) == OK
        assert client.run("it", *pragmas, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)") == OK
        assert client.run("it", "SELECT * FROM t") == OK
        client.ask("mark", path=str(folder / "begin"))
        assert client.run("it", "INSERT INTO t VALUES (2)") == OK
        client.ask("mark", path=str(folder / "end"))
        client.close("it")
    found = calls(trace, folder)
    begin, end = (
        next(place for place, call in enumerate(found) if call.path == str(folder / name))
        for name in ("begin", "end")
    )
    # Whether the standard descriptors are open is looked at before a file is.
    others = ("ftruncate", "F_GETFD")
    return [
        call for call in found[begin + 1 : end] if not {call.name, call.arguments.split(",")[0]} & {*others}
    ]


@pytest.mark.parametrize("vfs", ("unix", "ltx-os"))
@pytest.mark.parametrize("configuration", [("DELETE", "FULL"), ("WAL", "FULL"), ("DELETE", "EXTRA")])
def test_syncs_of_one_insert(tmp_path: Path, vfs: str, configuration: tuple[str, str]) -> None:
    journal, level = configuration
    pragmas = (f"PRAGMA journal_mode={journal}", f"PRAGMA synchronous={level}")
    found = one_insert(tmp_path, vfs, "fsync,fdatasync", *pragmas)
    assert [call.role for call in found] == SYNCS_OF_AN_INSERT[configuration]


@pytest.mark.slow
@pytest.mark.parametrize("vfs", ("unix", "ltx-os"))
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids="-".join)
def test_syncs_of_every_insert(tmp_path: Path, vfs: str, configuration: tuple[str, str]) -> None:
    test_syncs_of_one_insert(tmp_path, vfs, configuration)


# `R` shares, `W` has alone, `-` lets go, `?` looks.
ROLLBACK_TRANSACTION = [
    "? PENDING db",
    "R SHARED db",
    "W RESERVED db",
    "W PENDING db",
    "W SHARED db",
    "R SHARED db",
    "- PENDING+RESERVED db",
    "- ALL db",
]
# SQLite's own VFS takes PENDING to look at it, and unlocks it again: three calls where ours has two.
ROLLBACK_TRANSACTION_OF_SQLITE = ["R PENDING db", "R SHARED db", "- PENDING db", *ROLLBACK_TRANSACTION[2:]]
WAL_TRANSACTION = [
    "R READ1 shm",
    "W WRITE shm",
    "- WRITE shm",
    "- READ1 shm",
]


@pytest.mark.parametrize(
    "vfs, journal, expected",
    [
        ("ltx-ofd", "DELETE", ROLLBACK_TRANSACTION),
        ("ltx-posix", "DELETE", ROLLBACK_TRANSACTION_OF_SQLITE),
        ("unix", "DELETE", ROLLBACK_TRANSACTION_OF_SQLITE),
        ("ltx-ofd", "WAL", WAL_TRANSACTION),
        ("ltx-posix", "WAL", WAL_TRANSACTION),
        ("unix", "WAL", WAL_TRANSACTION),
    ],
)
def test_locks_of_one_insert(tmp_path: Path, vfs: str, journal: str, expected: list[str]) -> None:
    found = one_insert(tmp_path, vfs, "fcntl", f"PRAGMA journal_mode={journal}")
    assert [call.lock() for call in found] == expected
    command = "F_OFD_" if vfs == "ltx-ofd" else "F_SETLK"
    assert all(call.arguments.startswith(command) for call in found)


FIRST_OF_ALL = [
    "? DMS shm",
    "W DMS shm",  # nobody has it: what the file holds is not to be trusted
    "R DMS shm",
    "W WRITE shm",
    "W CKPT+RECOVER shm",
]
NOT_THE_FIRST = ["? DMS shm !", "R DMS shm"]


def test_the_first_to_open_begins_the_shared_memory_anew(tmp_path: Path) -> None:
    """And the next one does not: one that has no descriptor in common with it."""
    with traced(tmp_path, "fcntl,ftruncate") as (client, trace):
        for name, vfs in (("first", "ltx-ofd"), ("next", "ltx-posix")):
            assert client.open(name, tmp_path / "app.db", vfs) == OK
            assert client.run(name, "PRAGMA journal_mode=WAL", "SELECT * FROM sqlite_schema") == OK
        client.close("next", "first")
    shm = [call for call in calls(trace, tmp_path) if call.role == "shm"]
    begin = [call.lock() for call in shm if call.name == "fcntl"]
    assert begin[: len(FIRST_OF_ALL)] == FIRST_OF_ALL
    second = begin.index("? DMS shm !")
    assert begin[second : second + 2] == NOT_THE_FIRST
    # Truncated under the lock that nobody else can have beside it, once.
    places = [place for place, call in enumerate(shm) if call.name == "ftruncate"]
    assert places == [2]
    assert shm[2].arguments == "3"
