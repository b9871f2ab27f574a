"""S3, and the many services with the same interface: buckets as object stores, and replicas in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.clients.s3._settings import S3Options
from ltxcore.clients.s3._store import S3Store
from ltxcore.clients.s3._url import parse

if TYPE_CHECKING:
    from typing import Unpack

    from boto3.session import Session
    from botocore.client import BaseClient

__all__ = ["S3Client", "S3Options", "S3Store", "from_url"]


class S3Client(ObjectReplicaClient):
    """LTX files in an S3 bucket, ``<path>/<level as four hexadecimal digits>/<first>-<last>.ltx``, as Litestream lays them out.

    Args:
        bucket: the name of the bucket, or the ARN of an access point.
        path: what the keys of this replica begin with, such as ``"backups/app"``. Each replica needs a path of its own.
        session: a boto3 session, whose credentials and region are used.
        client: a boto3 client, which is used as it is; see :class:`S3Store`.
        options: see :class:`S3Options`.

    Raises:
        ConfigError: an option has an impossible value.
    """

    def __init__(
        self,
        bucket: str,
        path: str = "",
        *,
        session: Session | None = None,
        client: BaseClient | None = None,
        **options: Unpack[S3Options],
    ) -> None:
        super().__init__(S3Store(bucket, session=session, client=client, **options), path.strip("/"))
        self.store: S3Store

    def __repr__(self) -> str:
        url = "/".join(filter(None, (f"s3://{self.store.bucket}", self.prefix.rstrip("/"))))
        endpoint = f", endpoint={self.store.endpoint!r}" if self.store.endpoint else ""
        return f"S3Client({url!r}{endpoint})"


def from_url(
    url: str, *, bucket: str | None = None, path: str | None = None, **options: Unpack[S3Options]
) -> S3Client:
    """The client for a URL such as ``s3://bucket/backups/app?region=eu-central-1``.

    The environment variable ``LITESTREAM_S3_ENDPOINT`` is the endpoint if there is no other.

    Args:
        url: the URL.
        bucket: the bucket, instead of that in the URL.
        path: the path, instead of that in the URL.
        options: options, instead of those in the URL.

    Raises:
        ConfigError: the URL or an option has an impossible value.
    """
    found = parse(url, options, os.environ.get("LITESTREAM_S3_ENDPOINT"), bucket)
    return S3Client(found.bucket, found.path if path is None else path, **found.options)
