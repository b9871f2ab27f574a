"""What the files look like: permissions and owners, names and links, and what is said when they cannot be used."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.sqlclient import NOBODY, OK, Client, clients, uri

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

VFSES = ("ltx-os", "ltx-posix", "unix")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
WRITE = "INSERT INTO t VALUES (1)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with clients(tmp_path_factory.mktemp("client"), 1) as (client,):
        yield client


@pytest.fixture
def one(shared: Client) -> Iterator[Client]:
    yield shared
    shared.close()
    shared.ask("umask", mask=0o022)


@pytest.fixture
def humble(open_folder: Path) -> Iterator[Client]:
    """A client that will drop its privileges, and is of no use to anybody else then."""
    with clients(open_folder.parent, 1) as (client,):
        yield client


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def make(client: Client, db: Path, *pragmas: str) -> None:
    assert client.open("make", db, "unix") == OK
    assert client.run("make", *pragmas, "CREATE TABLE t (x)", WRITE) == OK
    client.close("make")


@pytest.mark.parametrize("vfs", VFSES)
@pytest.mark.parametrize("umask", (0o000, 0o022, 0o077))
def test_companions_have_the_mode_of_the_database(
    one: Client, open_folder: Path, vfs: str, umask: int
) -> None:
    """Whoever may use the database must be able to use them, and nobody else: whatever the umask of the moment."""
    for bits in (0o600, 0o640, 0o664, 0o666):
        db = open_folder / f"{bits:o}.db"
        make(one, db)
        db.chmod(bits)
        one.ask("umask", mask=umask)
        assert one.open("it", db, vfs) == OK
        assert one.run("it", "BEGIN IMMEDIATE", WRITE) == OK
        assert mode(f"{db}-journal") == bits
        assert one.run("it", "COMMIT", "PRAGMA journal_mode=WAL", WRITE) == OK
        assert [mode(f"{db}{end}") for end in ("-wal", "-shm")] == [bits, bits]
        one.close("it")


@needs_root
@pytest.mark.parametrize("vfs", VFSES)
def test_companions_have_the_owner_of_the_database(one: Client, open_folder: Path, vfs: str) -> None:
    db = open_folder / "app.db"
    make(one, db)
    os.chown(db, NOBODY, 12345)
    assert one.open("it", db, vfs) == OK
    assert one.run("it", "BEGIN IMMEDIATE", WRITE) == OK
    found = [os.stat(f"{db}-journal")]
    assert one.run("it", "COMMIT", "PRAGMA journal_mode=WAL", WRITE) == OK
    found += [os.stat(f"{db}{end}") for end in ("-wal", "-shm")]
    assert {(file.st_uid, file.st_gid) for file in found} == {(NOBODY, 12345)}


@pytest.mark.parametrize("vfs", VFSES)
def test_modeof(one: Client, open_folder: Path, vfs: str) -> None:
    model, db = open_folder / "model", open_folder / "app.db"
    model.touch()
    model.chmod(0o624)
    one.ask("umask", mask=0o077)
    assert one.open("it", db, vfs, modeof=model) == OK
    assert one.run("it", "CREATE TABLE t (x)") == OK
    assert mode(db) == 0o624
    one.close("it")
    missing = uri(open_folder / "other.db", vfs, modeof=open_folder / "none")
    assert one.ask("open", name="it", uri=missing)["code"] != OK
    assert not (open_folder / "other.db").exists()


@pytest.mark.parametrize("vfs", VFSES)
def test_two_names_have_one_journal_beside_the_file(one: Client, open_folder: Path, vfs: str) -> None:
    (there := open_folder / "there").mkdir()
    db = there / "app.db"
    make(one, db)
    (open_folder / "link.db").symlink_to("there/app.db")
    (open_folder / "again").symlink_to(there)
    for name in ("link.db", "again/app.db"):
        assert one.open("it", open_folder / name, vfs) == OK
        assert one.run("it", "BEGIN IMMEDIATE", WRITE) == OK
        assert sorted(os.listdir(there)) == ["app.db", "app.db-journal"]
        assert one.open("direct", db, vfs) == OK
        assert one.run("direct", WRITE) == "SQLITE_BUSY"
        assert one.run("it", "COMMIT") == OK
        one.close("it", "direct")
    assert sorted(os.listdir(open_folder)) == ["again", "link.db", "there"]


@pytest.mark.parametrize("vfs", VFSES)
def test_a_link_to_nothing_makes_its_target(one: Client, open_folder: Path, vfs: str) -> None:
    (open_folder / "link.db").symlink_to("new.db")
    assert one.open("it", open_folder / "link.db", vfs) == OK
    assert one.run("it", "CREATE TABLE t (x)") == OK
    assert (open_folder / "new.db").is_file() and (open_folder / "link.db").is_symlink()


@pytest.mark.parametrize("vfs", VFSES)
@pytest.mark.parametrize("journal", ("DELETE", "WAL"))
def test_names_are_bytes(one: Client, open_folder: Path, vfs: str, journal: str) -> None:
    name = os.fsencode(open_folder) + b"/caf\xe9 \xff?.db"
    encoded = f"{open_folder}/caf%e9%20%ff%3f.db"
    assert one.open("it", encoded, vfs) == OK
    assert (
        one.run("it", f"PRAGMA journal_mode={journal}", "CREATE TABLE t (x)", "BEGIN IMMEDIATE", WRITE) == OK
    )
    ends = (b"-journal",) if journal == "DELETE" else (b"-wal", b"-shm")
    assert {os.path.basename(name) + end for end in (b"", *ends)} == set(os.listdir(os.fsencode(open_folder)))
    assert one.run("it", "COMMIT") == OK
    assert os.stat(name).st_size > 0


def logged(client: Client) -> str:
    lines = client.ask("log")
    return "\n".join(line for line in lines if "recovered" not in line)


def test_several_names_are_warned_of(one: Client, open_folder: Path) -> None:
    db = open_folder / "app.db"
    make(one, db)
    one.ask("log")
    assert one.open("it", db, "ltx-os") == OK
    assert one.run("it", "SELECT * FROM t") == OK
    assert logged(one) == ""
    one.close("it")
    os.link(db, open_folder / "second.db")
    assert one.open("it", db, "ltx-os") == OK
    one.run("it", "SELECT * FROM t")
    assert "hard links" in logged(one)


# (what happens to the file, the code of a write)
MOVED = [
    ("renamed", "SQLITE_READONLY_DBMOVED"),
    ("deleted", "SQLITE_READONLY_DBMOVED"),
    ("replaced", "SQLITE_READONLY_DBMOVED"),
    ("linked", OK),
]


@pytest.mark.parametrize("vfs", VFSES)
@pytest.mark.parametrize("how, expected", MOVED)
def test_a_database_that_moved_is_not_written(
    one: Client, open_folder: Path, vfs: str, how: str, expected: str
) -> None:
    """Its journal would stand beside another file, and be rolled back into that."""
    db = open_folder / "app.db"
    make(one, db)
    make(one, open_folder / "other.db")
    assert one.open("it", db, vfs) == OK
    assert one.run("it", "SELECT * FROM t") == OK
    {
        "renamed": lambda: db.rename(open_folder / "gone.db"),
        "deleted": db.unlink,
        "replaced": lambda: (open_folder / "other.db").rename(db),
        "linked": lambda: os.link(db, open_folder / "second.db"),
    }[how]()
    assert one.run("it", WRITE) == expected
    assert one.value("it", "SELECT count(*) FROM t") == (2 if expected == OK else 1)


@pytest.mark.parametrize("vfs", VFSES)
def test_without_permission_to_write_it_is_read(humble: Client, open_folder: Path, vfs: str) -> None:
    db = open_folder / "app.db"
    make(humble, db)
    db.chmod(0o444)
    humble.ask("drop")
    assert humble.open("it", db, vfs) == OK
    assert humble.value("it", "SELECT count(*) FROM t") == 1
    assert humble.run("it", WRITE) == "SQLITE_READONLY"


@pytest.mark.parametrize("vfs", VFSES)
@pytest.mark.parametrize("journal", ("DELETE", "WAL"))
def test_a_directory_that_takes_no_journal(humble: Client, open_folder: Path, vfs: str, journal: str) -> None:
    """The database may be written, its directory not: that is said, and not "unable to open database file"."""
    db = open_folder / "app.db"
    make(humble, db, f"PRAGMA journal_mode={journal}")
    db.chmod(0o666)
    open_folder.chmod(0o555)
    humble.ask("drop")
    assert humble.open("it", db, vfs) == OK
    assert humble.run("it", WRITE) == "SQLITE_READONLY_DIRECTORY"


@pytest.mark.parametrize("vfs", ("ltx-os", "ltx-posix"))
def test_a_directory_is_no_database(one: Client, open_folder: Path, vfs: str) -> None:
    # Not CANTOPEN_ISDIR: callers compare with what SQLite's own VFS says.
    assert one.open("it", open_folder, vfs) == one.open("it", open_folder, "unix") == "SQLITE_CANTOPEN"
    only = one.open("it", open_folder, vfs, mode="ro")
    assert only == one.open("it", open_folder, "unix", mode="ro") == "SQLITE_IOERR_READ"


WISHES = [
    ("lock", "auto", OK),
    ("lock", "ofd", OK),
    ("lock", "posix", OK),
    ("lock", "flock", OK),
    ("lock", "dotfile", OK),
    ("lock", "excl", OK),
    ("lock", "none", OK),
    ("lock", "", "SQLITE_CANTOPEN"),
    ("lock", "OFD", "SQLITE_CANTOPEN"),
    ("lock", "fcntl", "SQLITE_CANTOPEN"),
    ("shm", "mmap", OK),
    ("shm", "none", OK),
    ("shm", "heap", "SQLITE_CANTOPEN"),
    ("shm", "copy", "SQLITE_CANTOPEN"),
    ("sync", "full", OK),
    ("sync", "maybe", "SQLITE_CANTOPEN"),
]


@pytest.mark.parametrize("key, value, expected", WISHES)
def test_wishes_that_mean_nothing(
    one: Client, open_folder: Path, key: str, value: str, expected: str
) -> None:
    one.ask("log")
    assert one.open("it", open_folder / "app.db", "ltx-os", **{key: value}) == expected
    assert (f"invalid URI parameter: {key}={value}" in logged(one)) == (expected != OK and value != "heap")
    if expected == OK and key == "lock":
        assert one.value("it", "PRAGMA ltx_lock") == ("ofd" if value == "auto" else value)


def test_no_standard_descriptor_is_a_database(one: Client, open_folder: Path) -> None:
    """A message to stderr would be written into it."""
    found = one.ask("without_standard_descriptors", uri=uri(open_folder / "app.db", "ltx-os"))
    assert [found.get(number, "closed") for number in "012"] == ["/dev/null"] * 3
    assert {os.path.basename(path) for path in found.values()} >= {"app.db", "app.db-wal", "app.db-shm"}
