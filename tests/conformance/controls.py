"""Which method, when it is broken, each check has to notice. The names are those of `c/broken.c`.

A check that passes over a broken VFS has not looked at the method. Every method has a check of SQLite's here, or one of
our own. Three have none: the fence of xShmBarrier does nothing on x86 that its absence would show, xFetch declines,
and xRandomness, xSleep, xCurrentTime and xDl* have no state.
"""

from __future__ import annotations

METHODS = (
    *(
        "xLock",
        "xUnlock",
        "xCheckReservedLock",
        "lock-bytes",
        "xShmLock",
        "xShmMap",
        "xShmUnmap",
        "xRead",
        "xWrite",
    ),
    *(
        "xTruncate",
        "xFileSize",
        "xSync",
        "xDelete",
        "xDelete-sync",
        "xAccess",
        "xOpen-flags",
        "xFullPathname",
    ),
    *("xFileControl", "has-moved", "persist-wal", "xDeviceCharacteristics", "xClose"),
)
#: Name of a check, as `checks.py` makes it, over ltx-os.
CONTROLS: dict[str, tuple[str, ...]] = {
    "own/reserved": ("xCheckReservedLock", "xWrite", "xDelete"),
    "own/last-close": ("xShmUnmap", "xLock"),
    "own/short-read": ("xRead", "xTruncate"),
    "own/controls": ("xFileControl", "has-moved", "persist-wal"),
    "own/symlink": ("xFullPathname",),
    "own/read-only": ("xOpen-flags",),
    "own/descriptors": ("xClose",),
    "own/syncs": ("xSync", "xDelete-sync", "xDeviceCharacteristics"),
    "mptest/multiwrite01/delete": ("xLock", "xUnlock"),
    # Where all processes lock the same wrong bytes they agree all the same.
    "mptest/multiwrite01/delete/mixed": ("lock-bytes",),
    "mptest/crash01/delete": ("xFileSize", "xAccess"),
    "mptest/multiwrite01/wal": ("xShmLock", "xShmMap"),
    "mptest/multiwrite01/wal/mixed": ("xShmLock",),
    "mptest/crash01/wal": ("xShmLock",),
    "speedtest1/delete": ("xWrite",),
    "speedtest1/wal": ("xWrite",),
    "kvtest/delete": ("xWrite",),
    "tcl": ("xLock",),
}
