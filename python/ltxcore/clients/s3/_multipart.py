"""Multipart uploads, whole or not at all.

boto3 has them, too, but cannot create an object only if there is none.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from ltxcore._process.parallel import in_parallel
from ltxcore.clients._transfer import read_full
from ltxcore.clients.s3._connection import content_md5
from ltxcore.clients.s3._settings import MAX_PARTS
from ltxcore.errors import ReplicaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ltxcore.clients.s3._settings import Settings


def read_whole(data: BinaryIO, size: int, key: str) -> bytes:
    """Exactly ``size`` bytes of what is stored under ``key``."""
    block = read_full(data, size)
    if len(block) != size:
        raise ReplicaError(f"the data of {key} became shorter while it was uploaded", op="write")
    return block


def upload_parts(
    client: Any,  # noqa: ANN401 - boto3's
    settings: Settings,
    key: str,
    data: BinaryIO,
    size: int,
    *,
    create: Mapping[str, Any],
    condition: Mapping[str, Any],
) -> Any:  # noqa: ANN401 - botocore's answer
    """Upload ``data``, from where it stands, in parts; several at once.

    Args:
        client: the client.
        settings: the settings of the bucket.
        key: the key of the object.
        data: a file that can be seeked.
        size: how many bytes of it there are.
        create: parameters of the object.
        condition: parameters of the last request, which makes the object appear.

    Returns:
        The answer to the last request.
    """
    place = {"Bucket": settings.bucket, "Key": key}
    upload = {**place, "UploadId": client.create_multipart_upload(**place, **create)["UploadId"]}
    part_size = max(settings.part_size, -(-size // MAX_PARTS))
    begin, reading = data.tell(), threading.Lock()

    def upload_part(index: int) -> dict[str, Any]:
        with reading:
            data.seek(begin + index * part_size)
            block = read_whole(data, min(part_size, size - index * part_size), key)
        md5 = {"ContentMD5": content_md5(block)} if settings.put_with_md5 else {}
        answer = client.upload_part(**upload, PartNumber=index + 1, Body=block, **md5, **settings.of_content)
        return {"PartNumber": index + 1, "ETag": answer["ETag"]}

    try:
        parts = in_parallel(upload_part, range(-(-size // part_size)), settings.concurrency)
        return client.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": parts}, **condition, **settings.of_content
        )
    except BaseException:
        # What is left of it would be paid for. If that fails as well, the rules of the bucket have to remove it.
        with contextlib.suppress(Exception):
            client.abort_multipart_upload(**upload)
        raise
