"""Which files of the Tcl suite cannot apply to a VFS that is not the built-in one, or say nothing about it, and why."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath

#: Pattern of a file's name, why it is left out.
EXCLUDED: dict[str, str] = {
    "*ioerr*": "failures are simulated inside os_unix.c, which no other VFS runs through",
    "*_err*": "the same",
    "*fault*": "the same, or failures of the allocator, which is not the VFS's",
    "*malloc*": "failures of the allocator",
    "diskfull.test": "a full disk is simulated inside os_unix.c",
    "syscall.test": "replaces system calls of the unix VFS by name (xSetSystemCall)",
    "oserror.test": "replaces system calls of the unix VFS",
    "mmap2.test": "replaces system calls of the unix VFS",
    "wal64k.test": "fakes the page size of the machine through system calls of the unix VFS",
    "unixexcl.test": "opens unix-excl by name",
    "quota*": "its quota VFS passes itself instead of the VFS below to that one's methods, and crashes over any other",
    "*bigfile*": "files of many gigabytes",
    "fts*": "full-text search: thousands of tests above the pager, none about files",
    "rtree*": "the same for the R-tree",
    "e_fts3.test": "the same",
}
#: Single tests that show a property of the unix VFS that is no property of files, and why ours may differ.
DIFFERING: dict[str, str] = {
    "external_reader-1.2.4": "a reader in the same process counts too: the kernel does not tell whose an OFD lock is",
    "filectrl-1.6": "the name of a temporary file is the VFS's own affair",
    "incrvacuum-16.1": "asks for memory-mapped reads, which our VFS declines as it may (xFetch)",
    "mmap1-1.*.5": "counts reads that memory-mapped ones would save",
    "mmap1-2.1": "PRAGMA mmap_size gives no row where memory-mapped reads are declined",
    "mmap1-6.2": "the same",
    "mmap3-*": "the same",
    "mmapcorrupt-2.1": "the same",
    "rowallock-1.[12].2": "the same",
    "sort5-1.0": "the same",
    "temptable2-10.2": "the same",
}
#: Files that also simulate failures inside os_unix.c, once for each call: over another VFS fewer tests are run.
FEWER_TESTS = frozenset({"multiplex.test", "tkt2565.test", "wal4.test", "withM.test"})
#: For --quick, and for most negative controls: files about locks, journals and the WAL that take a second or less.
CORE = (
    *(
        "lock.test",
        "lock2.test",
        "lock3.test",
        "lock4.test",
        "lock5.test",
        "wal.test",
        "wal2.test",
        "wal3.test",
    ),
    *("wal4.test", "walmode.test", "walpersist.test", "walro.test", "walro2.test", "sync.test", "sync2.test"),
    *("journal1.test", "journal2.test", "journal3.test", "pager1.test", "pager2.test", "exclusive.test"),
    *(
        "io.test",
        "symlink.test",
        "readonly.test",
        "delete_db.test",
        "trans.test",
        "attach.test",
        "backup2.test",
    ),
    *(
        "delete.test",
        "crash.test",
        "crash3.test",
        "savepoint.test",
        "tempdb.test",
        "nolock.test",
        "superlock.test",
    ),
    *(
        "walprotocol.test",
        "walprotocol2.test",
        "external_reader.test",
        "shared.test",
        "memdb1.test",
        "uri.test",
    ),
)


def reason(name: str) -> str | None:
    """Why a file is left out, None if it is not."""
    file = PurePath(name)
    if "ext" in file.parts:
        return "extensions, above the pager"
    return next((why for pattern, why in EXCLUDED.items() if fnmatchcase(file.name, pattern)), None)


def may_differ(test: str) -> bool:
    """Whether a failing test says nothing about the VFS."""
    return any(fnmatchcase(test, pattern) for pattern in DIFFERING)
