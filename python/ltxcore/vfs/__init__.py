"""Local files for SQLite with locks that nobody else in the process can take away, and the SQLite libraries they are for.

::

    import sqlite3
    from ltxcore import OSVFS

    vfs = OSVFS().register()
    con = vfs.connect("app.db")  # an ordinary sqlite3.Connection

Registering makes a name available to one SQLite library; connections that do not ask for it stay as they are. It is for
the life of the process: SQLite has no safe way of taking a VFS back.
"""

from ltxcore.vfs._os_vfs import (
    OSVFS,
    Capabilities,
    LockMode,
    SQLiteLibrary,
    break_lock,
    probe,
    sqlite_library,
    supports_file_locking,
    supports_shared_memory,
    write_checksums,
)
from ltxcore.vfs._reader import ReaderVFS
from ltxcore.vfs._sqlite import KNOWN_BUGS

__all__ = [
    "KNOWN_BUGS",
    "OSVFS",
    "Capabilities",
    "LockMode",
    "ReaderVFS",
    "SQLiteLibrary",
    "break_lock",
    "probe",
    "sqlite_library",
    "supports_file_locking",
    "supports_shared_memory",
    "write_checksums",
]
