"""What is known of a replica: the files it held at the last look, and whether that may have changed since."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ltxcore.clients import ReplicaClient
from ltxcore.db._destination import Known
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo
from ltxcore.replica._inventory import Inventory, Key, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltxcore.errors import Error

#: A directory that is listed within this time, in seconds, is listed before every answer.
_CHEAP = 0.001
#: Listing without a reason takes one part in so many of the time: in a directory, where a token tells of files that come
#: and go, and a listing finds those that were changed in place;
_DIRECTORY_SHARE = 100
#: and elsewhere, where a listing is requests, which cost money, and the only way to find anything.
_REQUEST_SHARE = 3000
#: While nothing happens and nobody waits, a directory is listed for what was changed in place, for this part of the time.
_IDLE_SHARE = 30_000
#: The least and the most time between two listings, in seconds; by request, the most is for each page of a listing.
_SHORTEST, _LONGEST = 1.0, 60.0
#: While nobody waits, a listing by request costs no more than one request for so many uploads.
_UPLOADS = 20
#: How many files are on one page of a listing, which is one request.
_PAGE = 1000


class Survey:
    """The files of a replica as one thread, which alone lists and writes them, knows them.

    Other threads may ask what is known, whether that is still true, and may tell that it is not.
    """

    def __init__(self, client: ReplicaClient) -> None:
        self.client = client
        #: What it held at the last look, with what was written since.
        self.files = Inventory({})
        #: The sizes that files are known to have: of all when everything was last settled, and of what was written since.
        self.expected: dict[Key, int] = {}
        self._bound: TXID | None = None
        self._known: Known | None = None
        self._settled = False
        self._token: object | None = None
        # A listing that was made for another purpose and can serve for the next look, and when it was begun.
        self._ahead: tuple[Inventory, float] | None = None
        # How many files were stored since the last look.
        self._stored = 0
        self._listed_at = float("-inf")
        self._seen_at = float("-inf")
        self._listing_takes = float("inf")
        # Another one each time somebody says that everything has to be compared again; and the one at the last look.
        self._doubt = self._doubt_seen = object()
        # Files that were found to be damaged, with their sizes if known; they may be away for a while, and come back.
        self._found_damaged: dict[Key, int | None] = {}

    @property
    def known(self) -> Known | None:
        """What is known; ``None`` before the first look, and where something has failed or changed since."""
        return self._known

    def is_settled(self) -> bool:
        """Whether what was known at the end of the last pass is still true, as far as that can be told for nothing."""
        return self._settled and (self._token is None or self.client.change_token() == self._token)

    def is_due(self, *, is_awaited: bool = True) -> bool:
        """Whether it is time to list the files although nothing hints at a change.

        Args:
            is_awaited: somebody waits for the answer. Otherwise a listing by request has to be earned by uploads.
        """
        since = time.monotonic() - self._listed_at
        if self._token is None:
            is_earned = since == float("inf") or self._stored >= _UPLOADS * self._requests()
            return (is_awaited or is_earned) and since >= self._pause()
        return self._is_cheap() or since >= min(self._listing_takes * _DIRECTORY_SHARE, _LONGEST)

    def is_idle_due(self) -> bool:
        """The same, where nothing has been written and nobody waits: only a directory is listed then."""
        since = time.monotonic() - self._listed_at
        return self._token is not None and since >= self._listing_takes * _IDLE_SHARE

    def is_confirmed(self, since: float) -> bool:
        """Whether what is known was seen to be true after ``since``, on the monotonic clock.

        Or lately, where looking costs requests; or a token says so now, where that is all there is.
        """
        if self._seen_at >= since:
            return True
        if self._token is None:
            return not self.is_due()
        return self._is_telling() and self.is_settled()

    def look(self) -> bool:
        """List the files; whether anything is different. If so, nothing counts as known until it is settled.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        self._doubt_seen = self._doubt
        token = self.client.change_token()
        files, began = self._listed(token)
        self._stored = 0
        before, self.files = self.files, files
        self._found_damaged.update({key: before.sizes[key] for key in before.damaged})
        for key, size in list(self._found_damaged.items()):
            if key in files.sizes and size in (None, files.sizes[key]):
                self._found_damaged[key] = files.sizes[key]
                files.damaged.add(key)
        differs = not self._settled or files.sizes != before.sizes
        if differs:
            self._settled, self._known = False, None
        self._token = token
        self._listed_at = self._seen_at = began
        return differs

    def look_ahead(self) -> Inventory:
        """List the files for another purpose. The next look takes the same listing, if a listing is requests and it comes soon.

        From any thread.

        Raises:
            ReplicaError: the storage cannot be listed.
        """
        files, began = self._list()
        self._ahead = files, began
        # Of its own, as whoever reads these files will note what is damaged.
        return Inventory(files.sizes)

    def settle(self, obstacle: Error | None = None) -> None:
        """What was found has been dealt with; ``obstacle`` says better what is left in the way, if anything is."""
        reach, found = self.files.reach()
        if self._doubt is self._doubt_seen:
            sizes, damaged = self.files.sizes, self.files.damaged
            self.expected = {key: size for key, size in sizes.items() if key not in damaged}
            self._settled = True
            self._publish(reach, None if found is None else obstacle or found, self._doubt_seen)

    def forget(self) -> None:
        """What is known may be wrong: everything has to be compared again. From any thread."""
        self._doubt = object()
        self._settled, self._known = False, None

    def note(self, file: FileInfo) -> None:
        """A file was stored by another thread, so it is time to list the files. From any thread."""
        self.expected[key_of(file)] = file.size
        self.expire()

    def add_damaged(self, key: Key) -> None:
        """A file was found to be damaged, though it has the size it should have. From any thread."""
        self.note_damaged(key)
        self.forget()

    def note_damaged(self, key: Key) -> None:
        """The same, by the thread that compares, which has not dealt with damaged files yet."""
        size = self._found_damaged[key] = self.files.sizes.get(key)
        if size is not None:
            self.files.damaged.add(key)

    def expire(self) -> None:
        """It is time to list the files. From any thread."""
        self._ahead = None
        self._listed_at = float("-inf")

    def limit(self, bound: TXID | None) -> None:
        """From ``bound`` on nothing can be restored without a snapshot that is not there yet, as the engine knows."""
        if self._bound != bound:
            self._bound = bound
            if self._settled:
                self.settle(self._known.obstacle if self._known is not None else None)

    @contextlib.contextmanager
    def storing(self, key: Key, size: int) -> Iterator[None]:
        """Around a write of ours: the file is known afterwards, and its coming is not taken for a change by others."""
        undisturbed = self._token is not None and self.client.change_token() == self._token
        yield
        self._stored += 1
        self.files.sizes[key] = self.expected[key] = size
        self.files.damaged.discard(key)
        self._found_damaged.pop(key, None)
        # What was looked at before the write says nothing of the other files after it.
        self._seen_at = float("-inf")
        if undisturbed:
            self._token = self.client.change_token()
            if self._is_telling():
                self._seen_at = time.monotonic()

    def extend(self, txid: TXID) -> None:
        """The file of ``txid`` alone, which continues what was known, is in the replica now."""
        doubt = self._doubt
        known = self._known
        if known is None or known.reach + 1 != txid:
            return
        if known.obstacle is None:
            self._publish(txid, None, doubt)
        else:
            # It may be passed by now.
            self.settle(known.obstacle)

    def _listed(self, token: object | None) -> tuple[Inventory, float]:
        """The files, and when they were listed: now, or lately for another purpose."""
        ahead, self._ahead = self._ahead, None
        is_new = ahead is not None and time.monotonic() - ahead[1] < self._pause()
        # A token that is asked for now says nothing about an older listing.
        return ahead if ahead is not None and is_new and token is None else self._list()

    def _list(self) -> tuple[Inventory, float]:
        began = time.monotonic()
        files = Inventory.of(self.client)
        # One that took long for once says little about the next.
        self._listing_takes = min(time.monotonic() - began, self._listing_takes * 1.5)
        return files, began

    def _pause(self) -> float:
        """The least time between two listings by request, in seconds: one page a minute at most."""
        return min(max(self._listing_takes * _REQUEST_SHARE, _SHORTEST), _LONGEST * self._pages())

    def _requests(self) -> int:
        """How many requests a listing is, about, as far as they cost anything."""
        if self.client.capabilities.is_local:
            return 0
        lists_each_level = type(self.client).all_ltx_files is ReplicaClient.all_ltx_files
        return self._pages() + (SNAPSHOT_LEVEL if lists_each_level else 0)

    def _pages(self) -> int:
        return 1 + len(self.files.sizes) // _PAGE

    def _is_cheap(self) -> bool:
        return self._token is not None and self._listing_takes <= _CHEAP

    def _is_telling(self) -> bool:
        """Whether the token is all there is: its times are too coarse to tell two changes within milliseconds from one."""
        return self._token is not None and not self._is_cheap()

    def _publish(self, reach: TXID, obstacle: Error | None, doubt: object) -> None:
        if self._bound is not None:
            reach = min(reach, TXID(self._bound - 1))
        self._known = Known(reach, obstacle)
        if self._doubt is not doubt:
            # Whoever has said that meanwhile may have cleared what was known before it was published.
            self._settled, self._known = False, None
