"""A boto3 client for one bucket: made when it is needed, once for each process, and counted."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ltxcore import _ltxcore
from ltxcore._process import runtime
from ltxcore.errors import ConfigError

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.client import BaseClient

    from ltxcore.clients.s3._settings import Settings

#: How often botocore makes a request that fails for the moment, with random pauses of up to 1, 2 and 4 s in between.
_ATTEMPTS = 4
# In seconds.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10, 30
# The same for requests whose answers are of no use late, which are made once.
_QUICK_CONNECT_TIMEOUT, _QUICK_READ_TIMEOUT = 3, 5
# More than any batch of requests at once needs.
_CONNECTIONS = 32
_REGION = "us-east-1"
#: Nothing is signed with it. Without any, botocore would look for credentials, on the network too, and hand them to all others.
_NOBODY = ("anonymous", "anonymous", None)
_HINT = "pip install ltxcore[s3]"


class _Process:
    """What all connections of a process share."""

    #: A session may be used by one thread at a time, until it has made a client.
    lock = threading.RLock()
    #: For the counters of requests.
    counting = threading.Lock()
    #: One session for all buckets, since each reads megabytes of descriptions of AWS.
    session: Session | None = None


def _after_fork_in_child() -> None:
    # Other threads of the parent may have held them.
    _Process.lock, _Process.counting = threading.RLock(), threading.Lock()
    _Process.session = None


os.register_at_fork(after_in_child=_after_fork_in_child)


class Connection:
    """The boto3 client of a bucket.

    Args:
        settings: the settings of the bucket.
        session: a boto3 session of the caller.
        client: a boto3 client of the caller, which is used as it is. It is not closed.
    """

    def __init__(self, settings: Settings, session: Session | None, client: BaseClient | None) -> None:
        self._settings = settings
        self._session = session
        self._given = client
        # With the generation of the process that made it: its connections are of no use to a child.
        self._made: tuple[int, Any] | None = None
        self._made_quick: tuple[int, Any] | None = None
        #: Requests that were sent, repetitions included, by the name of the operation.
        self.requests: Counter[str] = Counter()

    @property
    def client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes when it runs
        """The client of this process.

        Raises:
            ConfigError: boto3 is not installed.
            ReplicaError: the region of the bucket cannot be looked up.
        """
        made = self._made
        if made is not None and made[0] == runtime.generation():
            return made[1]
        return self._connect()

    @property
    def is_given(self) -> bool:
        """Whether the client is one of the caller."""
        return self._given is not None

    def credentials(self) -> Any:  # noqa: ANN401 - as above
        """What the client signs with, as it is now; ``None`` if there is nothing.

        Raises:
            BotoCoreError: it could not be renewed.
        """
        from botocore.credentials import Credentials

        if (given := self._credentials()) is not None:
            return Credentials(*given)
        with _Process.lock:
            session = self._session or _Process.session
            found = None if session is None else session.get_credentials()
        # May renew them, and other buckets need not wait for that.
        return None if found is None else found.get_frozen_credentials()

    @property
    def quick(self) -> Any:  # noqa: ANN401 - as above
        """A client that makes each request once, and waits a few seconds for it. A client of the caller is used as it is."""
        made = self._made_quick
        if made is not None and made[0] == runtime.generation():
            return made[1]
        client = self.client
        if client is not self._given:
            with _Process.lock:
                session = self._session or _Process.session
            client = self._make(session, client.meta.region_name, is_quick=True)
        with _Process.lock:
            if self._made_quick is None or self._made_quick[0] != runtime.generation():
                if client is not self._given:
                    self._watch(client)
                self._made_quick = runtime.generation(), client
            return self._made_quick[1]

    def close(self) -> None:
        """Let go of the connections."""
        both = self._made, self._made_quick
        self._made = self._made_quick = None
        for made in both:
            if made is not None and made[0] == runtime.generation() and made[1] is not self._given:
                made[1].close()

    def _connect(self) -> Any:  # noqa: ANN401 - as above
        try:
            import boto3  # noqa: F401
        except ImportError as error:
            raise ConfigError("boto3 is not installed, which S3 needs", op="open", hint=_HINT) from error
        from ltxcore.clients.s3._errors import translated  # imports botocore

        with translated(self._settings.bucket, "open"):
            with _Process.lock:
                session = self._session or _Process.session or _new_session()
                _Process.session = _Process.session or (None if self._session else session)
                region = self._settings.region or session.region_name
            if region is None and self._settings.endpoint is None and self._given is None:
                region = _region_of(self._make(session, _REGION), self._settings.bucket)
            client = self._given or self._make(session, region or _REGION)
        with _Process.lock:
            if self._made is None or self._made[0] != runtime.generation():
                self._watch(client)
                self._made = runtime.generation(), client
            return self._made[1]

    def _make(self, session: Any, region: str, *, is_quick: bool = False) -> Any:  # noqa: ANN401 - as above
        from botocore import UNSIGNED
        from botocore.config import Config

        settings = self._settings
        key, secret, token = self._credentials() or (None, None, None)
        options: dict[str, Any] = {"verify": False} if not settings.verify else {}
        with _Process.lock:
            return session.client(
                "s3",
                region_name=region,
                endpoint_url=settings.endpoint,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                aws_session_token=token,
                config=Config(
                    # boto3 would sign URLs with the older version, which signs the Range header's absence.
                    signature_version=UNSIGNED if settings.anonymous else "s3v4",
                    s3={
                        "addressing_style": "path" if settings.path_style else "auto",
                        "payload_signing_enabled": settings.sign_payload,
                    },
                    # Services other than AWS refuse the newer checksums.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    retries={"total_max_attempts": 1 if is_quick else _ATTEMPTS, "mode": "standard"},
                    connect_timeout=_QUICK_CONNECT_TIMEOUT if is_quick else _CONNECT_TIMEOUT,
                    read_timeout=_QUICK_READ_TIMEOUT if is_quick else _READ_TIMEOUT,
                    max_pool_connections=_CONNECTIONS,
                    user_agent_extra=f"ltxcore/{_ltxcore.__version__}",
                ),
                **options,
            )

    def _credentials(self) -> tuple[str, str, str | None] | None:
        """Those that were given, or those of Litestream's variables if boto3 would not find any in the environment."""
        if self._settings.anonymous:
            return _NOBODY
        if self._settings.credentials or self._session or os.environ.get("AWS_ACCESS_KEY_ID"):
            return self._settings.credentials
        key, secret = (
            os.environ.get(f"LITESTREAM_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        )
        return (key, secret, None) if key and secret else None

    def _watch(self, client: Any) -> None:  # noqa: ANN401 - as above
        events = client.meta.events
        events.register("before-send.s3", self._count, unique_id=f"ltxcore-count-{id(self)}")
        if self._settings.delete_with_md5:
            events.register("before-call.s3.DeleteObjects", _add_md5, unique_id="ltxcore-md5")
        if self._settings.provider.headers:
            events.register("before-call.s3", self._add_headers, unique_id="ltxcore-headers")

    def _count(self, event_name: str, **_: Any) -> None:  # noqa: ANN401 - as botocore calls it
        with _Process.counting:
            self.requests[event_name.rpartition(".")[2]] += 1

    def _add_headers(self, params: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - as above
        params["headers"].update(self._settings.provider.headers)


def _new_session() -> Session:
    """A session that reads the times of a listing ten times as fast as botocore, which takes half of its time for them."""
    import boto3.session
    import botocore.session

    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return boto3.session.Session(botocore_session=session)


def _timestamp(value: str | float) -> datetime:
    """A time as a service writes it."""
    from botocore.utils import parse_timestamp

    # With another end it may have another form.
    if isinstance(value, str) and value.endswith("Z"):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    found: datetime = parse_timestamp(value)
    return found


def _add_md5(params: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - as above
    """Have a batch of deletions checked by its MD5, which every service knows, and not by a newer checksum."""
    params["headers"]["Content-MD5"] = content_md5(params["body"])
    params.get("context", {}).pop("checksum", None)


def content_md5(body: bytes) -> str:
    """The value of the header ``Content-MD5`` for a body."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _region_of(client: Any, bucket: str) -> str:  # noqa: ANN401 - as above
    from botocore.exceptions import ClientError

    try:
        answer: Any = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        # Whether access is denied or the region is wrong: the answer names the right one.
        answer = error.response
    finally:
        client.close()
    region: str | None = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return region or _REGION
