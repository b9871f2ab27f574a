"""Directory pages of web servers, as nginx, Apache, Caddy, rclone and Python's ``http.server`` make them.

They show names. Times are rounded, and sizes often are, so both come from the first bytes of each file.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ltxcore._process.parallel import in_parallel
from ltxcore._process.times import from_millis
from ltxcore.clients._listing import NAME
from ltxcore.clients._transfer import again
from ltxcore.errors import FormatError, NoSnapshotError, ObjectNotFoundError
from ltxcore.ltx import HEADER_SIZE, SNAPSHOT_LEVEL, FileInfo, Header, parse_filename

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ltxcore.clients.http._store import HTTPStore

#: How many files are asked for their size at once.
_REQUESTS = 16
#: How long a file that is new is taken for what it was, in seconds.
_FIRST_PAUSE = 2.0
#: Where the folders of the levels are, and what they are called there: of directories and most stores, and of S3.
_LAYOUTS = (("ltx/", re.compile(r"[0-9]")), ("", re.compile(r"000[0-9]")))


class _Known:
    """What is known of a file, which may have been seen while it was copied to the server.

    So it is asked for again after as long as it has been known: that is soon where it is new, and hardly ever where it is old.
    """

    def __init__(self, file: FileInfo) -> None:
        self.file = file
        self._since = self._looked = time.monotonic()

    def is_due(self) -> bool:
        """Whether the server is to be asked again."""
        return time.monotonic() - self._looked >= max(self._looked - self._since, _FIRST_PAUSE)

    def look(self, file: FileInfo) -> None:
        """Note what the server says. It is as good as new if that is something else."""
        self._looked = time.monotonic()
        if file != self.file:
            self.file, self._since = file, self._looked


class Index:
    """The files of a replica as directory pages show them.

    Args:
        store: the web server.
    """

    def __init__(self, store: HTTPStore) -> None:
        self._store = store
        # They hardly ever change. Snapshots may be replaced.
        self._known: dict[str, _Known] = {}

    def folders(self) -> tuple[tuple[str, ...], Sequence[int]]:
        """The folder of each level, and which of them there are.

        Raises:
            NoSnapshotError: there is no page that has any.
        """
        for parent, pattern in _LAYOUTS:
            found = sorted(name for name in self._names(parent) if pattern.fullmatch(name))
            if found:
                prefix = parent + found[0][:-1]
                levels = [int(name[-1]) for name in found]
                return tuple(f"{prefix}{level}" for level in range(SNAPSHOT_LEVEL + 1)), levels
        raise NoSnapshotError(
            f"no replica: {self._store.address.url} has neither the listing {NAME} nor directory pages with LTX files",
            op="list",
            hint="check the URL; write the listing with: ltxcore listing REPLICA",
        )

    def files(self, folder: str, level: int) -> list[FileInfo]:
        """The files of one level, ascending."""
        names = {f"{folder}/{name}" for name in self._names(f"{folder}/") if _is_file(name)}
        old = {key: known for key, known in self._known.items() if key.startswith(f"{folder}/")}
        current = {key: known.file for key, known in old.items() if key in names and not known.is_due()}
        asked = sorted(names - current.keys())
        found = in_parallel(lambda key: again(lambda: self._look(key, level)), asked, _REQUESTS)
        new = {key: file for key, file in zip(asked, found, strict=True) if file is not None}
        for key in old.keys() - current.keys() - new.keys():
            self._known.pop(key, None)
        if level < SNAPSHOT_LEVEL:
            for key, file in new.items():
                self._known.setdefault(key, _Known(file)).look(file)
        return sorted([*current.values(), *new.values()])

    def _names(self, folder: str) -> set[str]:
        try:
            page = again(lambda: self._store.page(folder))
        except ObjectNotFoundError:
            return set()
        return set(names_in(page))

    def _look(self, key: str, level: int) -> FileInfo | None:
        """What the first bytes of a file say; ``None`` if it is gone by now."""
        try:
            start, size = self._store.head(key, HEADER_SIZE)
        except ObjectNotFoundError:
            return None
        try:
            created_at = Header.parse(start).timestamp
        except FormatError:
            # It is there all the same, and whoever reads it will see.
            created_at = from_millis(0)
        return FileInfo(level, *parse_filename(key.rpartition("/")[2]), size, created_at)


def _is_file(name: str) -> bool:
    try:
        low, high = parse_filename(name)
    except FormatError:
        return False
    return 0 < low <= high


def names_in(page: bytes) -> Iterable[str]:
    """The names in a directory page, which is HTML, or JSON as nginx and Caddy make it. Of any other page, what it links to."""
    text = page.decode("utf-8", "replace")
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError:
            rows = []
        names = [row.get("name") for row in rows if isinstance(row, dict)]
        return [name.rstrip("/") for name in names if isinstance(name, str)]
    from html.parser import HTMLParser  # not needed where there is a listing

    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if tag == "a" and name == "href" and value)

    parser = Links()
    parser.feed(text)
    parser.close()
    return map(_last_part, links)


def _last_part(link: str) -> str:
    try:
        path = urlsplit(link).path
    except ValueError:
        return ""
    return unquote(path).rstrip("/").rpartition("/")[2]
