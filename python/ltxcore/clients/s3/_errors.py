"""What botocore raises, as errors that say what to do. None of them shows a credential or a signed URL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from botocore import exceptions as botocore

from ltxcore.errors import (
    ConfigError,
    Error,
    ObjectExistsError,
    ObjectNotFoundError,
    ReplicaError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOCK = "set the clock of this machine, for example with NTP"
_CREDENTIALS = "check the access key and the secret key, and that they belong to this endpoint"


class UnsupportedError(ReplicaError):
    """The service does not know a header or an operation."""


class _Meaning(NamedTuple):
    kind: type[ReplicaError]
    message: str
    hint: str | None = None
    transient: bool | None = None


_FORBIDDEN = _Meaning(
    ReplicaPermissionError,
    "access denied",
    "reading needs s3:ListBucket and s3:GetObject for this bucket and path, and writing s3:PutObject and s3:DeleteObject",
)
_EXPIRED = _Meaning(ReplicaPermissionError, "the credentials have expired", "get new credentials")
_REGION = _Meaning(ReplicaError, "the bucket is in another region", transient=False)
_TAKEN = _Meaning(ObjectExistsError, "there is such an object")
_UNSUPPORTED = _Meaning(UnsupportedError, "the service does not support the request", transient=False)
_MEANINGS = {
    "NotImplemented": _UNSUPPORTED,
    "MethodNotAllowed": _UNSUPPORTED,
    "NoSuchBucket": _Meaning(
        ReplicaError, "there is no such bucket", "create it, or correct its name", transient=False
    ),
    "NoSuchKey": _Meaning(ObjectNotFoundError, "no such object"),
    "AccessDenied": _FORBIDDEN,
    "AllAccessDisabled": _FORBIDDEN,
    "InvalidAccessKeyId": _Meaning(ReplicaPermissionError, "the access key is not known there", _CREDENTIALS),
    "SignatureDoesNotMatch": _Meaning(
        ReplicaPermissionError, "the secret key is not that of the access key", _CREDENTIALS
    ),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": _Meaning(
        ReplicaPermissionError, "the clocks of this machine and of the service differ", _CLOCK
    ),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PreconditionFailed": _TAKEN,
    # Another write of the same key was under way. Nothing was stored.
    "ConditionalRequestConflict": _Meaning(ReplicaError, "another write was under way", transient=True),
    "OperationAborted": _Meaning(ReplicaError, "another write was under way", transient=True),
    # Completed before, by a request whose answer was lost; or aborted by somebody else.
    "NoSuchUpload": _Meaning(ReplicaError, "the multipart upload is gone", transient=True),
    "InvalidObjectState": _Meaning(
        ReplicaError,
        "the object is archived",
        "restore it to a storage class that can be read",
        transient=False,
    ),
}
_STATUSES = {
    301: _REGION,
    400: _Meaning(ReplicaError, "the request was refused", transient=False),
    403: _FORBIDDEN,
    404: _MEANINGS["NoSuchKey"],
    405: _UNSUPPORTED,
    409: _MEANINGS["OperationAborted"],
    412: _TAKEN,
    429: _Meaning(ReplicaError, "too many requests", transient=True),
    501: _UNSUPPORTED,
}


@contextlib.contextmanager
def translated(bucket: str, op: str, key: str | None = None, *, is_body: bool = False) -> Iterator[None]:
    """Turn what botocore raises into errors of ours.

    Args:
        bucket: the bucket, for the message.
        op: one word for what is done.
        key: the object that it is about, or ``None`` for a request about several.
        is_body: the body of an answer is read. That is the one thing that botocore does not repeat itself.
    """
    try:
        yield
    except botocore.ClientError as error:
        raise _of_answer(error, bucket, op, key) from None
    except (botocore.BotoCoreError, OSError) as error:
        # Of a request, an error of the operating system is about the file that is uploaded.
        if isinstance(error, Error) or not (is_body or isinstance(error, botocore.BotoCoreError)):
            raise
        raise _of_connection(error, bucket, op, key, transient=is_body or None) from None


def status_of(error: botocore.ClientError) -> int:
    """The HTTP status of an answer."""
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def of_code(code: str, message: str, bucket: str, op: str, key: str) -> ReplicaError:
    """The error for one object of a request about many."""
    return _error(_MEANINGS.get(code, _Meaning(ReplicaError, f"{code}: {message}")), bucket, op, key)


def _of_answer(error: botocore.ClientError, bucket: str, op: str, key: str | None) -> ReplicaError:
    code, status = error.response.get("Error", {}).get("Code", ""), status_of(error)
    meaning = _MEANINGS.get(code) or _STATUSES.get(status)
    if meaning is None:
        # botocore has made the request several times.
        text = error.response.get("Error", {}).get("Message") or f"HTTP status {status}"
        meaning = _Meaning(ReplicaError, f"{code or 'the request failed'}: {text}")
    if key is None and meaning.kind is ObjectNotFoundError:
        meaning = _MEANINGS["NoSuchBucket"]
    if meaning is _REGION:
        region = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
        meaning = meaning._replace(
            hint=f"set region to {region}" if region else "set region to that of the bucket"
        )
    return _error(meaning, bucket, op, key)


def _of_connection(
    error: Exception, bucket: str, op: str, key: str | None, *, transient: bool | None
) -> Error:
    name = type(error).__name__
    if isinstance(
        error,
        botocore.NoCredentialsError | botocore.PartialCredentialsError | botocore.CredentialRetrievalError,
    ):
        hint = (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give access_key_id and secret_access_key; "
            "for a public bucket, write anonymous=true in the URL"
        )
        return _error(_Meaning(ReplicaPermissionError, "no credentials were found", hint), bucket, op, key)
    if isinstance(
        error, botocore.ProfileNotFound | botocore.InvalidConfigError | botocore.ParamValidationError
    ):
        # Their texts may repeat values.
        return ConfigError(
            f"s3: the configuration is not accepted: {name}", op=op, hint="check the AWS configuration"
        )
    if isinstance(error, botocore.SSLError):
        hint = "set AWS_CA_BUNDLE to the certificate of the authority, or skip_verify to accept any"
        return _error(
            _Meaning(ReplicaError, "the TLS certificate is not accepted", hint, transient=False),
            bucket,
            op,
            key,
        )
    if isinstance(error, botocore.EndpointConnectionError):
        # Nothing else of the URL: it may be a signed one.
        host = urlsplit(str(error.kwargs.get("endpoint_url", ""))).netloc.rpartition("@")[2]
        said = f"cannot connect to {host or 'the service'}"
        hint = "check the endpoint, and that this machine can reach it"
        meaning = _Meaning(ReplicaError, said, hint, transient)
    elif isinstance(error, botocore.ConnectTimeoutError | botocore.ReadTimeoutError):
        meaning = _Meaning(ReplicaTimeoutError, "the service does not answer", transient=transient)
    else:
        meaning = _Meaning(ReplicaError, f"the connection failed: {name}", transient=transient)
    return _error(meaning, bucket, op, key)


def _error(meaning: _Meaning, bucket: str, op: str, key: str | None) -> ReplicaError:
    place = f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
    error = meaning.kind(f"{meaning.message}: {place}", op=op, hint=meaning.hint, transient=meaning.transient)
    error.client_type = "s3"
    if isinstance(error, ObjectNotFoundError | ObjectExistsError):
        error.key = key
    return error
