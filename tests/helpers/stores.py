"""Object stores of the test suite's own: in memory, in a directory, one that counts, and one that fails every second time."""

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from ltxcore.errors import ObjectChangedError, ObjectExistsError, ObjectNotFoundError, ReplicaError
from ltxcore.stores import Capabilities, ObjectInfo, ObjectStore, Version

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryStore(ObjectStore):
    type: ClassVar[str] = "memory"

    def __init__(self, capabilities: Capabilities = Capabilities(True, True, True, True)) -> None:  # noqa: B008
        self.capabilities = capabilities
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted(item for item in self.objects.items() if item[0].startswith(prefix))
        return (ObjectInfo(key, len(data), time) for key, (data, time) in found if key >= start)

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if key not in self.objects:
            raise ObjectNotFoundError(f"no such object: {key}")
        return self.objects[key][0][offset : None if size is None else offset + size]

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        content, now = data.read(), datetime.now(UTC)
        with self._lock:
            if if_absent and key in self.objects:
                raise ObjectExistsError(f"there is such an object: {key}")
            self.objects[key] = content, time if time and self.capabilities.keeps_time else now
            return ObjectInfo(key, len(content), self.objects[key][1])

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        for key in keys:
            self.objects.pop(key, None)
        return {}

    def read_version(self, key: str) -> Version:
        data, _time = self.objects.get(key, (None, None))
        tag = None if data is None else hashlib.sha256(data).hexdigest()
        return Version(data, tag, self.now())

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        with self._lock:
            self._compare(key, tag)
            self.objects[key] = data, datetime.now(UTC)
            return self.read_version(key)

    def delete_version(self, key: str, *, tag: str) -> None:
        with self._lock:
            if key in self.objects:
                self._compare(key, tag)
                del self.objects[key]

    def now(self) -> datetime:
        """The clock of the storage."""
        return datetime.now(UTC)

    def _compare(self, key: str, tag: str | None) -> None:
        if self.read_version(key).tag != tag:
            raise (ObjectExistsError if tag is None else ObjectChangedError)(f"another version: {key}")


class CountingStore(MemoryStore):
    """Counts its requests, by the names that they have in S3. They are not for nothing, and claims are."""

    def __init__(self) -> None:
        super().__init__(Capabilities(creates_if_absent=True))
        self.sent: Counter[str] = Counter()

    def requests_sent(self) -> Counter[str]:
        return self.sent

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        self.sent["ListObjectsV2"] += 1
        return super().list(prefix, start=start)

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        self.sent["GetObject"] += 1
        return super().read(key, offset=offset, size=size)

    def write(self, key: str, data: BinaryIO, **options: Any) -> ObjectInfo:
        self.sent["PutObject"] += 1
        return super().write(key, data, **options)

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        self.sent["DeleteObjects"] += 1
        return super().delete(keys)


class FlakyStore(ObjectStore):
    """Another store whose every second request of a thread fails for the moment, before or after it was carried out."""

    type: ClassVar[str] = "flaky"

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.capabilities = store.capabilities
        self.failed = 0
        self._of_thread = threading.local()

    def _fails(self) -> bool:
        fails = self._of_thread.fails = not getattr(self._of_thread, "fails", False)
        self.failed += fails
        return fails

    def _error(self) -> ReplicaError:
        return ReplicaError("the connection was reset", transient=True)

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        fails = self._fails()
        for number, info in enumerate(self.store.list(prefix, start=start)):
            if fails and number == 2:
                break
            yield info
        if fails:
            raise self._error()

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if self._fails():
            raise self._error()
        return self.store.read(key, offset=offset, size=size)

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        fails = self._fails()
        if fails and self.failed % 2:
            data.read(100)
            raise self._error()
        stored = self.store.write(key, data, if_absent=if_absent, time=time)
        if fails:
            raise self._error()
        return stored

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        keys = [*keys]
        if not self._fails():
            return self.store.delete(keys)
        return self.store.delete(keys[::2]) | {key: self._error() for key in keys[1::2] or keys}

    def read_version(self, key: str) -> Version:
        if self._fails():
            raise self._error()
        return self.store.read_version(key)

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        fails = self._fails()
        if fails and self.failed % 2:
            raise self._error()
        written = self.store.write_version(key, data, tag=tag)
        if fails:
            raise self._error()
        return written

    def delete_version(self, key: str, *, tag: str) -> None:
        if self._fails():
            raise self._error()
        self.store.delete_version(key, tag=tag)

    def init(self) -> None:
        if self._fails():
            raise self._error()


class DirectoryStore(ObjectStore):
    """Objects as files: for what a user could write, not for what is in the product."""

    type: ClassVar[str] = "directory"
    capabilities = Capabilities(creates_if_absent=True, keeps_time=True, is_local=True)

    def __init__(self, path: Path) -> None:
        self.path = path

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        found = [path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()]
        for key in sorted(key for key in found if key.startswith(prefix) and key >= start):
            if not key.endswith(".staged"):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield self._info(key)

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        try:
            with open(self.path / key, "rb") as file:
                file.seek(offset)
                return file.read(-1 if size is None else size)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(f"no such object: {key}") from error

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".staged", delete=False) as staged:
            try:
                while block := data.read(1 << 16):
                    staged.write(block)
                staged.flush()
                if time is not None:
                    os.utime(staged.name, ns=(0, (time - EPOCH) // timedelta(milliseconds=1) * 1_000_000))
                self._publish(staged.name, path, if_absent=if_absent)
            finally:
                Path(staged.name).unlink(missing_ok=True)
        return self._info(key)

    def _publish(self, staged: str, path: Path, *, if_absent: bool) -> None:
        if not if_absent:
            os.rename(staged, path)
            return
        try:
            os.link(staged, path)
        except FileExistsError as error:
            raise ObjectExistsError(f"there is such an object: {path}") from error

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        for key in keys:
            try:
                (self.path / key).unlink(missing_ok=True)
            except OSError as error:
                if error.errno != errno.ENOTDIR:
                    failed[key] = error
        return failed

    def locate(self, key: str) -> Path:
        return self.path / key

    def _info(self, key: str) -> ObjectInfo:
        found = (self.path / key).stat()
        modified = EPOCH + timedelta(milliseconds=found.st_mtime_ns // 1_000_000)
        return ObjectInfo(key, found.st_size, modified)
