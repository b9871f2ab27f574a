"""URLs of objects, signed by botocore's own algorithm.

``generate_presigned_url`` builds each request anew from the description of the service, which takes more than half of its
time, and a restore of thousands of small files would wait for that. So it is called once, for where the bucket is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ltxcore._process import runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ltxcore.clients.s3._connection import Connection


class Signing:
    """Signs URLs for the objects of a bucket.

    Args:
        connection: how the bucket is reached.
        bucket: its name.
        parameters: what else each request for an object says, as boto3 calls it.
    """

    def __init__(self, connection: Connection, bucket: str, parameters: Mapping[str, str]) -> None:
        self._connection = connection
        self._bucket = bucket
        self._parameters = parameters
        # For one process: the URL of the bucket, and the region.
        self._place: tuple[int, str, str] | None = None

    def url(self, key: str, seconds: int) -> str | None:
        """A URL that reads an object for so long, or as long as the credentials are good; a plain one if there are none.

        Returns:
            ``None`` if the client signs by another version, which signs more than the name of the object.
        """
        from botocore import UNSIGNED

        client = self._connection.client
        version = client.meta.config.signature_version
        if version not in ("s3v4", UNSIGNED):
            return None
        # Handlers of a client of the caller may sign in their own way, and parameters become headers that are signed.
        if self._connection.is_given or self._parameters:
            return self._by_client(client, key, seconds)
        base, region = self._found(client)
        url = base + quote(key, safe="/~")
        return url if version is UNSIGNED else self._signed(url, region, seconds)

    def _signed(self, url: str, region: str, seconds: int) -> str:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", url)
        S3SigV4QueryAuth(self._connection.credentials(), "s3", region, seconds).add_auth(request)
        signed: str = request.url
        return signed

    def _found(self, client: Any) -> tuple[str, str]:  # noqa: ANN401 - boto3 makes its classes when it runs
        place = self._place
        if place is None or place[0] != runtime.generation():
            url = self._by_client(client, "k", 1)
            place = runtime.generation(), url.partition("?")[0].removesuffix("k"), client.meta.region_name
            self._place = place
        return place[1:]

    def _by_client(self, client: Any, key: str, seconds: int) -> str:  # noqa: ANN401 - as above
        params = {"Bucket": self._bucket, "Key": key, **self._parameters}
        url: str = client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)
        return url
