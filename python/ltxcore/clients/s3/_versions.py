"""Small objects of a bucket that are replaced and deleted only if they are what somebody has seen."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ltxcore.clients.s3._connection import content_md5
from ltxcore.errors import ObjectChangedError, ObjectExistsError, ObjectNotFoundError, ReplicaError
from ltxcore.stores import Version

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore.clients.s3._connection import Connection
    from ltxcore.clients.s3._settings import Settings

#: Services and buckets that have shown that they keep a condition, with its name. Each proof is made once.
_proved: set[tuple[str, str, str]] = set()

#: The largest object that is read, in bytes.
_MAX_SIZE = 64 << 10
#: An ETag that no object has.
_NO_TAG = f'"{"0" * 32}"'


class Versions:
    """Versions of objects, told apart by their ETags.

    Args:
        connection: makes the clients.
        settings: the settings of the bucket.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._bucket = settings.bucket
        self._has_md5 = settings.put_with_md5
        self._of_content = settings.of_content
        # Without the storage class: cold ones cannot be read, or cost a month for each version.
        self._of_uploads = {
            name: value for name, value in settings.of_uploads.items() if name != "StorageClass"
        }

    def read(self, key: str) -> Version:
        """See :meth:`ltxcore.stores.ObjectStore.read_version`."""
        client = self._connection.quick
        with self._errors("read", key):
            try:
                answer = client.get_object(Bucket=self._bucket, Key=key, **self._of_content)
            except client.exceptions.NoSuchKey as error:
                return Version(None, None, _date(error.response))
        size, body = answer["ContentLength"], answer["Body"]
        try:
            if size > _MAX_SIZE:
                message = f"the object has {size} bytes, more than {_MAX_SIZE}: s3://{self._bucket}/{key}"
                raise ReplicaError(message, op="read", transient=False)
            with self._errors("read", key, is_body=True):
                data = body.read()
        finally:
            body.close()
        return Version(data, answer["ETag"], _date(answer))

    def write(self, key: str, data: bytes, tag: str | None) -> Version:
        """See :meth:`ltxcore.stores.ObjectStore.write_version`.

        The first write proves that the service keeps conditions. What it is made to do for this changes nothing if it does.

        Raises:
            UnsupportedError: the service does not. The object is gone.
        """
        self._prove(key, data, _NO_TAG, "If-Match")
        version = self._put(key, data, tag)
        self._prove(key, data, None, "If-None-Match")
        return version

    def delete(self, key: str, tag: str) -> None:
        """See :meth:`ltxcore.stores.ObjectStore.delete_version`."""
        client = self._connection.quick
        try:
            with self._errors("delete", key):
                client.delete_object(Bucket=self._bucket, Key=key, IfMatch=tag)
        except ObjectNotFoundError:
            return
        except ObjectExistsError as error:
            # Some services say the same of an object that is not there.
            if self.read(key).tag is not None:
                raise self._changed("delete", key) from error

    def _prove(self, key: str, data: bytes, tag: str | None, condition: str) -> None:
        """Make a write that the service has to refuse, unless it has done so before."""
        proof = self._connection.quick.meta.endpoint_url, self._bucket, condition
        if proof in _proved:
            return
        from ltxcore.clients.s3._errors import UnsupportedError

        try:
            self._put(key, data, tag)
        except (ObjectExistsError, ObjectChangedError):
            _proved.add(proof)
            return
        client = self._connection.quick
        with self._errors("delete", key):
            client.delete_object(Bucket=self._bucket, Key=key)
        raise UnsupportedError(
            f"the service ignores the condition {condition}: s3://{self._bucket}/{key}",
            op="write",
            transient=False,
        )

    def _put(self, key: str, data: bytes, tag: str | None) -> Version:
        client = self._connection.quick
        options = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        if self._has_md5:
            options["ContentMD5"] = content_md5(data)
        try:
            with self._errors("write", key):
                answer = client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=data,
                    ContentType="application/json",
                    **options,
                    **self._of_uploads,
                    **self._of_content,
                )
        except (ObjectExistsError, ObjectNotFoundError) as error:
            if tag is None:
                raise
            raise self._changed("write", key) from error
        return Version(data, answer["ETag"], _date(answer))

    def _changed(self, op: str, key: str) -> ObjectChangedError:
        error = ObjectChangedError(f"the object has changed: s3://{self._bucket}/{key}", op=op)
        error.client_type, error.key = "s3", key
        return error

    def _errors(self, op: str, key: str, *, is_body: bool = False) -> Any:  # noqa: ANN401 - a context manager
        from ltxcore.clients.s3._errors import translated  # imports botocore

        return translated(self._bucket, op, key, is_body=is_body)


def _date(answer: Any) -> datetime | None:  # noqa: ANN401 - botocore's
    """When the service answered, by its own clock, rounded down to the second."""
    text = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.utcoffset() is not None else None
