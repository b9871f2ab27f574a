"""Directory pages of web servers, as nginx, Apache, Caddy, rclone and Python's ``http.server`` make them.

They show names. Times are rounded, and sizes often are, so both come from the first bytes of each file.
"""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from ltxcore._process.parallel import in_parallel
from ltxcore._process.times import from_millis
from ltxcore.clients._listing import NAME
from ltxcore.clients._transfer import again
from ltxcore.errors import FormatError, NoSnapshotError, ObjectNotFoundError
from ltxcore.ltx import HEADER_SIZE, SNAPSHOT_LEVEL, FileInfo, Header, parse_filename

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from urllib.parse import SplitResult

    from ltxcore.clients.http._store import HTTPStore

#: How many files are asked for their size at once.
_REQUESTS = 16
#: How long a file that is new is taken for what it was, in seconds.
_FIRST_PAUSE = 2.0
#: Where the folders of the levels are, and what they are called there: of directories and most stores, and of S3.
_LAYOUTS = (("ltx/", re.compile(r"[0-9]")), ("", re.compile(r"000[0-9]")))

#: A link. Each part has a bound, so that no page takes long, whatever is in it.
_LINK = re.compile(
    r"<a\s[^<>]{0,1000}?(?<![\w-])href\s{0,9}=\s{0,9}(?:\"([^<\"]{1,1000})\"|'([^<']{1,1000})'|([^\s<>\"']{1,1000}))",
    re.IGNORECASE,
)

#: A link that is a name as it stands, as most are.
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*/?", re.ASCII)


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
        return set(names_in(page, self._store.address.shown(folder)))

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


def names_in(page: bytes, url: str) -> Iterable[str]:
    """The names in a directory page, which is HTML, or JSON as nginx and Caddy make it.

    Args:
        page: the page.
        url: its URL, which ends with a slash. Of the links in HTML, those count that lead to something directly below it.
    """
    text = page.decode("utf-8", "replace")
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):
            rows = []
        names = [row.get("name") for row in rows if isinstance(row, dict)]
        return [name.rstrip("/") for name in names if isinstance(name, str)]
    page_parts = urlsplit(url)
    links = {double or single or bare for double, single, bare in _LINK.findall(text)}
    return filter(None, (_name(unescape(link), url, page_parts) for link in links))


def _name(link: str, url: str, page: SplitResult) -> str:
    """The name of what a link on a page leads to, if that is directly below the page."""
    if _PLAIN.fullmatch(link):
        return link.removesuffix("/")
    try:
        found = urlsplit(urljoin(url, link))
        is_here = (found.hostname, found.port) == (page.hostname, page.port)
    except ValueError:
        return ""
    path, parent = unquote(found.path), unquote(page.path)
    name = path.removeprefix(parent).removesuffix("/")
    return name if is_here and path.startswith(parent) and "/" not in name else ""
