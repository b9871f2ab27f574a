"""Every failure of S3 is an error of ours with a hint, and none repeats a secret. The answers are those that AWS documents."""

from typing import Any

import pytest
from botocore import exceptions as botocore

from ltxcore import errors
from ltxcore.clients.s3._errors import UnsupportedError, of_code, translated


def answer(code: str, status: int, headers: dict[str, str] | None = None) -> botocore.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "the text of the service", "AWSAccessKeyId": "AKIAHIDDEN"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return botocore.ClientError(response, "GetObject")


def translate(
    error: BaseException, key: str | None = "app/0000/x.ltx", *, is_body: bool = False
) -> errors.Error:
    with pytest.raises(errors.Error) as raised, translated("bucket", "read", key, is_body=is_body):
        raise error
    assert raised.value.__suppress_context__
    return raised.value


@pytest.mark.parametrize(
    ("error", "kind", "says", "hint"),
    [
        (answer("NoSuchKey", 404), errors.ObjectNotFoundError, "no such object: s3://bucket/app/0000/x.ltx", None),
        (answer("404", 404), errors.ObjectNotFoundError, "no such object", None),
        (answer("NoSuchBucket", 404), errors.ReplicaError, "there is no such bucket", "create it"),
        (answer("AccessDenied", 403), errors.ReplicaPermissionError, "access denied", "s3:PutObject"),
        (answer("403", 403), errors.ReplicaPermissionError, "access denied", "s3:PutObject"),
        (answer("ExpiredToken", 400), errors.ReplicaPermissionError, "have expired", "new credentials"),
        (answer("InvalidAccessKeyId", 403), errors.ReplicaPermissionError, "not known", "access key"),
        (answer("SignatureDoesNotMatch", 403), errors.ReplicaPermissionError, "not that of", "secret key"),
        (answer("RequestTimeTooSkewed", 403), errors.ReplicaPermissionError, "clocks", "clock"),
        (answer("PermanentRedirect", 301), errors.ReplicaError, "another region", "set region to that of the bucket"),
        (
            answer("AuthorizationHeaderMalformed", 400, {"x-amz-bucket-region": "eu-west-3"}),
            errors.ReplicaError,
            "another region",
            "set region to eu-west-3",
        ),
        (answer("PreconditionFailed", 412), errors.ObjectExistsError, "there is such an object", None),
        (answer("InvalidObjectState", 403), errors.ReplicaError, "archived", "storage class"),
        (answer("InternalError", 500), errors.ReplicaError, "InternalError: the text of the service", None),
        (answer("NotImplemented", 501), UnsupportedError, "does not support", None),
        (botocore.NoCredentialsError(), errors.ReplicaPermissionError, "no credentials", "AWS_ACCESS_KEY_ID"),
        (botocore.ProfileNotFound(profile="hidden"), errors.ConfigError, "ProfileNotFound", "AWS configuration"),
        (botocore.SSLError(endpoint_url="https://h", error="e"), errors.ReplicaError, "certificate", "AWS_CA_BUNDLE"),
        (botocore.ReadTimeoutError(endpoint_url="https://h?hidden"), errors.ReplicaTimeoutError, "not answer", None),
        (botocore.EndpointConnectionError(endpoint_url="http://h?hidden"), errors.ReplicaError, "connect to h:", "endpoint"),
        (botocore.ProxyConnectionError(proxy_url="u:hidden@p", error="hidden"), errors.ReplicaError, "failed", None),
    ],
)  # fmt: skip
def test_a_failure_is_named(error: Exception, kind: type[errors.Error], says: str, hint: str | None) -> None:
    found = translate(error)
    assert type(found) is kind
    assert says in str(found)
    assert (hint is None) == (found.hint is None)
    assert hint is None or hint in str(found.hint)
    assert "hidden" not in f"{found} {found.hint}".lower()
    if isinstance(found, errors.ReplicaError):
        assert found.client_type == "s3"


def test_what_is_missing_without_a_key_is_the_bucket() -> None:
    assert "no such bucket: s3://bucket" in str(translate(answer("404", 404), key=None))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (answer("ConditionalRequestConflict", 409), True),
        (answer("NoSuchUpload", 404), True),
        (answer("TooManyRequests", 429), True),
        (answer("NoSuchBucket", 404), False),
        (answer("Malformed", 400), False),
        # botocore has repeated these.
        (answer("SlowDown", 503), None),
        (botocore.ConnectionClosedError(endpoint_url="https://h"), None),
    ],
)
def test_an_error_says_whether_to_try_again(error: Exception, transient: bool | None) -> None:
    assert translate(error).transient is transient


def test_a_body_that_breaks_off_is_worth_another_try() -> None:
    broken = botocore.ResponseStreamingError(error="reset")
    assert translate(broken, is_body=True).transient is True
    assert (
        translate(botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2), is_body=True).transient
        is True
    )


@pytest.mark.parametrize(
    "error", [errors.ReplicaError("mine"), OSError("of the file that is uploaded"), KeyError(1)]
)
def test_other_errors_go_through(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translated("bucket", "write", "key"):
        raise error
    assert raised.value is error


def test_each_object_of_a_batch_has_an_error() -> None:
    error = of_code("AccessDenied", "denied", "bucket", "delete", "a/b")
    assert type(error) is errors.ReplicaPermissionError
    assert "s3://bucket/a/b" in str(error)
    assert "Weird: text" in str(of_code("Weird", "text", "bucket", "delete", "a"))
