"""An S3 bucket as an object store."""

from __future__ import annotations

import dataclasses
import io
import itertools
import logging
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from ltxcore._process.parallel import in_parallel
from ltxcore._process.times import argument_error
from ltxcore.clients.s3._connection import Connection, content_md5
from ltxcore.clients.s3._multipart import read_whole, upload_parts
from ltxcore.clients.s3._settings import S3Options, settings
from ltxcore.clients.s3._signing import Signing
from ltxcore.clients.s3._versions import Versions
from ltxcore.errors import ObjectExistsError, ObjectNotFoundError, ReplicaError
from ltxcore.stores import (
    BLOCK_SIZE,
    Capabilities,
    HTTPOptions,
    ObjectInfo,
    ObjectStore,
    RequestCounter,
    SignedURL,
    Version,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Unpack

    from _typeshed import WriteableBuffer
    from boto3.session import Session
    from botocore.client import BaseClient

logger = logging.getLogger("ltxcore.s3")

#: Services and buckets that have shown that they keep `if_absent`. One proof is enough for all stores of a process.
_proved: set[tuple[str, str]] = set()
#: The same for keys that begin with a slash.
_keeps_slashes: set[tuple[str, str]] = set()

#: How many small reads are made at once.
_READS = 32
#: How many objects one page of a listing has, and one request deletes, at most.
_PAGE = 1000
#: How long a signed URL is good for, if the credentials are.
_URL_LIFE = timedelta(hours=1)
#: The name of the time among the metadata of an object, as Litestream has it.
_TIME = "litestream-timestamp"
#: What an answer says that it holds.
_RANGE = re.compile(r"bytes (\d+)-(\d+)/")
#: The status of a range that begins beyond the end.
_BEYOND_THE_END = 416


class S3Store(ObjectStore):
    """Objects in an S3 bucket, or in one of a service with the same interface.

    Nothing is asked before the first request. boto3 must be installed (``pip install ltxcore[s3]``).

    Args:
        bucket: the name of the bucket, or the ARN of an access point.
        session: a boto3 session, whose credentials and region are used.
        client: a boto3 client, which is used as it is: of the options, those about connections and signatures play no part.
        options: see :class:`S3Options`.

    Raises:
        ConfigError: an option has an impossible value.
    """

    type: ClassVar[str] = "s3"

    def __init__(
        self,
        bucket: str,
        *,
        session: Session | None = None,
        client: BaseClient | None = None,
        **options: Unpack[S3Options],
    ) -> None:
        self._settings = settings(bucket, options)
        can_write = not self._settings.anonymous
        self.capabilities = Capabilities(
            creates_if_absent=can_write, replaces_if_unchanged=can_write, is_read_only=not can_write
        )
        # A client of the caller knows its own.
        self._endpoint = self._settings.endpoint if client is None else client.meta.endpoint_url
        self._connection = Connection(self._settings, session, client)
        self._versions = Versions(self._connection, self._settings)
        self._signing = Signing(self._connection, bucket, self._of_content)
        self._signed_headers = _headers(self._of_content)
        # Of the reads by URL, which are not boto3's.
        self._reads = RequestCounter()
        self._http = HTTPOptions(verify=self._settings.verify, counter=self._reads)

    def __repr__(self) -> str:
        endpoint = f", endpoint={self.endpoint!r}" if self.endpoint else ""
        return f"S3Store({self.bucket!r}{endpoint})"

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self._settings.bucket

    @property
    def endpoint(self) -> str | None:
        """The URL of the service, or ``None`` for AWS. Of a boto3 client of yours, the one that it has."""
        return self._endpoint

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """See :attr:`ObjectStore.identity`: the endpoint and the bucket."""
        return self.type, self.endpoint, self.bucket

    @property
    def requests(self) -> Counter[str]:
        """How many requests were sent, repetitions included, by the name of the S3 operation."""
        sent = self._connection.requests.copy()
        if self._reads.requests:
            sent["GetObject"] += self._reads.requests
        return sent

    def requests_sent(self) -> Counter[str]:
        """See :meth:`ObjectStore.requests_sent`."""
        return self.requests

    def init(self) -> None:
        """Make the boto3 client, and look up the region of the bucket if it is not known."""
        self._client  # noqa: B018 - makes it

    def close(self) -> None:
        """See :meth:`ObjectStore.close`."""
        self._connection.close()

    def list(self, prefix: str, *, start: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`ObjectStore.list`. Each page of 1,000 objects is one request."""
        # S3 begins after a key, and a listing has to begin at one.
        after = {"StartAfter": start[:-1]} if start[:-1] else {}
        client = self._client
        token: dict[str, str] = {}
        while True:
            with self._errors("list"):
                page = client.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, MaxKeys=_PAGE, **after, **token
                )
            for each in page.get("Contents", ()):
                if each["Key"] >= start:
                    yield ObjectInfo(each["Key"], each["Size"], each["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, key: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """See :meth:`ObjectStore.read`."""
        if size == 0:
            client = self._client
            with self._errors("read", key):
                client.head_object(Bucket=self.bucket, Key=key, **self._of_content)
            return b""
        with self._body(key, offset, size) as body:
            return body.read()

    def read_many(self, requests: Sequence[tuple[str, int, int]]) -> Sequence[bytes]:
        """See :meth:`ObjectStore.read_many`. Several requests are made at once."""
        return in_parallel(
            lambda request: self.read(request[0], offset=request[1], size=request[2]),
            requests,
            _READS,
        )

    def open(self, key: str, *, offset: int = 0, size: int | None = None) -> BinaryIO:
        """See :meth:`ObjectStore.open`. One request, whose answer is read bit by bit."""
        if size == 0:
            return io.BytesIO(self.read(key, size=0))
        return io.BufferedReader(self._body(key, offset, size), BLOCK_SIZE)

    def write(
        self, key: str, data: BinaryIO, *, if_absent: bool = False, time: datetime | None = None
    ) -> ObjectInfo:
        """See :meth:`ObjectStore.write`. One request, or a multipart upload from ``part_size`` bytes on."""
        if key.startswith("/") and self._place not in _keeps_slashes:
            info = self._write_probing(key, data, time, if_absent)
            self._check_slash(key)
            return info
        return self._write_probing(key, data, time, if_absent)

    def _check_slash(self, key: str) -> None:
        """Refuse a service that stores a key that begins with a slash under another name: nobody would find it again."""
        found = next(iter(self.list(key, start=key)), None)
        if found is not None and found.key == key:
            _keeps_slashes.add(self._place)
            return
        self._delete([key])
        raise argument_error(
            "path",
            f"the service does not keep keys that begin with a slash, as those of a replica without a path: {key}",
            f"give the replica a path, such as s3://{self.bucket}/app",
        )

    def _write_probing(self, key: str, data: BinaryIO, time: datetime | None, if_absent: bool) -> ObjectInfo:
        """Write, and find out on the first occasion what the service does with conditions."""
        if not if_absent or self._place in _proved:
            return self._write(key, data, time, if_absent=if_absent)
        from ltxcore.clients.s3._errors import UnsupportedError, of_code

        begin = data.tell()
        if self._has(key):
            # Told without a condition, in case the service ignores conditions.
            raise of_code("PreconditionFailed", "", self.bucket, "write", key)
        try:
            info = self._write(key, data, time, if_absent=True)
            if info.size <= self._settings.part_size:
                data.seek(begin)
                self._prove(key, data, time)
        except UnsupportedError:
            self._distrust("does not know the condition If-None-Match")
            data.seek(begin)
            info = self._write(key, data, time, if_absent=False)
        return info

    def delete(self, keys: Iterable[str]) -> dict[str, Exception]:
        """See :meth:`ObjectStore.delete`. A request deletes up to 1,000 objects."""
        failed: dict[str, Exception] = {}
        every = iter(keys)
        while batch := tuple(dict.fromkeys(itertools.islice(every, _PAGE))):
            failed |= self._delete(batch)
        return failed

    def read_version(self, key: str) -> Version:
        """See :meth:`ObjectStore.read_version`."""
        return self._versions.read(key)

    def write_version(self, key: str, data: bytes, *, tag: str | None) -> Version:
        """See :meth:`ObjectStore.write_version`. If the service does not compare them, :attr:`capabilities` says so then."""
        from ltxcore.clients.s3._errors import UnsupportedError

        try:
            return self._versions.write(key, data, tag)
        except UnsupportedError:
            self.capabilities = dataclasses.replace(self.capabilities, replaces_if_unchanged=False)
            raise

    def delete_version(self, key: str, *, tag: str) -> None:
        """See :meth:`ObjectStore.delete_version`."""
        self._versions.delete(key, tag)

    def locate(self, key: str) -> SignedURL | None:
        """See :meth:`ObjectStore.locate`: a URL that is good for an hour at most."""
        now = datetime.now(UTC)
        with self._errors("read", key):
            url = self._signing.url(key, int(_URL_LIFE.total_seconds()))
        return None if url is None else SignedURL(url, self._signed_headers, now + _URL_LIFE, self._http)

    @property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes when it runs
        return self._connection.client

    @property
    def _place(self) -> tuple[str, str]:
        return self._client.meta.endpoint_url, self.bucket

    @property
    def _of_content(self) -> Any:  # noqa: ANN401 - parameters of botocore
        return self._settings.of_content

    def _errors(self, op: str, key: str | None = None, *, is_body: bool = False) -> Any:  # noqa: ANN401 - a context manager
        from ltxcore.clients.s3._errors import translated  # imports botocore

        return translated(self.bucket, op, key, is_body=is_body)

    def _body(self, key: str, offset: int, size: int | None) -> _Body:
        """The bytes of a range, as far as the object has them."""
        end = "" if size is None else str(offset + size - 1)
        # Also for the whole: the answer to a range says what is in it, and so whether it is all there.
        wanted = f"bytes={offset}-{end}"
        client = self._client
        with self._errors("read", key):
            try:
                answer = client.get_object(Bucket=self.bucket, Key=key, Range=wanted, **self._of_content)
            except client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == _BEYOND_THE_END:
                    return _Body(self, key, io.BytesIO(), 0)
                raise
        begin, length = _range_of(answer)
        if begin != offset or (size is not None and length > size):
            answer["Body"].close()
            raise ReplicaError(
                f"the service ignores ranges: s3://{self.bucket}/{key}", op="read", transient=False
            )
        return _Body(self, key, answer["Body"], length)

    def _write(self, key: str, data: BinaryIO, time: datetime | None, *, if_absent: bool) -> ObjectInfo:
        begin = data.tell()
        size = data.seek(0, io.SEEK_END) - begin
        data.seek(begin)
        client, create = self._client, {**self._settings.of_uploads, **self._of_content}
        if time is not None:
            create["Metadata"] = {_TIME: _rfc3339(time)}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        largest = self._settings.part_size - (0 if self._settings.put_with_md5 else 1)
        with self._errors("write", key):
            if size <= largest:
                answer = self._put(key, read_whole(data, size, key), create | condition)
            else:
                answer = upload_parts(
                    client, self._settings, key, data, size, create=create, condition=condition
                )
        date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        return ObjectInfo(key, size, parsedate_to_datetime(date) if date else datetime.now(UTC))

    def _put(self, key: str, body: bytes, options: Mapping[str, Any]) -> Any:  # noqa: ANN401 - botocore's answer
        if self._settings.put_with_md5:
            options = {**options, "ContentMD5": content_md5(body)}
        return self._client.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def _has(self, key: str) -> bool:
        try:
            self.read(key, size=0)
        except ObjectNotFoundError:
            return False
        return True

    def _prove(self, key: str, data: BinaryIO, time: datetime | None) -> None:
        """Find out whether the service keeps ``if_absent``: store what is stored already, which it then has to refuse."""
        try:
            self._write(key, data, time, if_absent=True)
        except ObjectExistsError:
            _proved.add(self._place)
        else:
            self._distrust("ignores the condition If-None-Match")

    def _distrust(self, what: str) -> None:
        self.capabilities = Capabilities()
        logger.warning("%r %s: it cannot tell two writers apart; run one replicator only", self, what)

    def _delete(self, keys: Sequence[str]) -> dict[str, Exception]:
        wanted: Any = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        client = self._client
        from ltxcore.clients.s3._errors import UnsupportedError, of_code

        try:
            with self._errors("delete"):
                answer = client.delete_objects(Bucket=self.bucket, Delete=wanted)
        except UnsupportedError:
            return self._delete_one_by_one(keys)
        return {
            each["Key"]: of_code(
                each.get("Code", ""), each.get("Message", ""), self.bucket, "delete", each["Key"]
            )
            for each in answer.get("Errors", ())
            if each.get("Code") != "NoSuchKey"
        }

    def _delete_one_by_one(self, keys: Sequence[str]) -> dict[str, Exception]:
        """For services without deletions in batches."""
        client = self._client

        def delete(key: str) -> Exception | None:
            try:
                with self._errors("delete", key):
                    client.delete_object(Bucket=self.bucket, Key=key)
            except ObjectNotFoundError:
                return None
            except ReplicaError as error:
                return error
            return None

        done = in_parallel(delete, keys, self._settings.concurrency)
        return {key: error for key, error in zip(keys, done, strict=True) if error is not None}


def _range_of(answer: Any) -> tuple[int, int]:  # noqa: ANN401 - botocore's
    """Where the body of an answer begins in its object, and how many bytes it should have."""
    found = _RANGE.match(answer.get("ContentRange", ""))
    if found is None:
        return 0, answer["ContentLength"]
    first, last = map(int, found.groups())
    return first, last + 1 - first


def _rfc3339(time: datetime) -> str:
    """A time as Litestream writes it: without zeros at the end of the fraction."""
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.rstrip("0").rstrip(".") + "Z"


def _headers(of_content: Mapping[str, str]) -> dict[str, str]:
    """The customer's key as headers, which a signed URL needs in addition."""
    prefix = "x-amz-server-side-encryption-customer-"
    names = {"SSECustomerAlgorithm": "algorithm", "SSECustomerKey": "key", "SSECustomerKeyMD5": "key-MD5"}
    return {prefix + names[name]: value for name, value in of_content.items()}


class _Body(io.RawIOBase):
    """The body of an answer, with errors of ours and no byte less than was promised."""

    def __init__(self, store: S3Store, key: str, body: Any, length: int) -> None:  # noqa: ANN401 - botocore's
        super().__init__()
        self._store = store
        self._key = key
        self._body = body
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        with self._store._errors("read", self._key, is_body=True):
            block = self._body.read(min(len(target), self._left)) if self._left else b""
        if not block and self._left and len(target):
            raise ReplicaError(
                f"the answer ended {self._left} bytes early: {self._key}", op="read", transient=True
            )
        target[: len(block)] = block
        self._left -= len(block)
        return len(block)

    def readall(self) -> bytes:
        """All that is left, without the small pieces of the base class."""
        whole = bytearray(self._left)
        view, filled = memoryview(whole), 0
        while count := self.readinto(view[filled:]):
            filled += count
        return bytes(whole)

    def close(self) -> None:
        self._body.close()
        super().close()
