"""Named blobs in one SQLite file, bounded in size, for threads and processes.

::

    from ltxcore.blob_store import BlobStore

    with BlobStore("cache.db", capacity=1 << 30) as store:
        store["logo.png"] = data            # committed when this returns
        store.get("logo.png")               # bytes, or None
        with store.open("video.mp4") as file:
            file.seek(-4096, 2)

Because it is one ordinary SQLite file, :func:`ltxcore.replicate` backs it up, and it can be restored to any moment.
"""

from ltxcore.blob_store._async import AsyncBlobStore
from ltxcore.blob_store._files.paths import BlobPath
from ltxcore.blob_store._files.writing import BlobWriter
from ltxcore.blob_store._store import BlobStore
from ltxcore.blob_store._values import (
    BlobStat,
    EffectiveOptions,
    Evicted,
    Imported,
    Options,
    Report,
    Stats,
    TagValue,
    Usage,
)
from ltxcore.blob_store._writer.requests import Batch

__all__ = [
    "AsyncBlobStore",
    "Batch",
    "BlobPath",
    "BlobStat",
    "BlobStore",
    "BlobWriter",
    "EffectiveOptions",
    "Evicted",
    "Imported",
    "Options",
    "Report",
    "Stats",
    "TagValue",
    "Usage",
]
