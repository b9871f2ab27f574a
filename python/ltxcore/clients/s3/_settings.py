"""Settings of an S3 bucket: options as users write them, what providers need, and what follows from both."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from urllib.parse import urlsplit

from ltxcore._process.arguments import meant
from ltxcore._process.times import argument_error

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The least size of a part that S3 accepts, and the default, in bytes.
MIN_PART_SIZE = 5 << 20
#: The most parts of one upload.
MAX_PARTS = 10_000
_CONCURRENCY = 5
_KEY_SIZE = 32


class S3Options(TypedDict, total=False):
    """Options of an S3 bucket. Their names and defaults are those of Litestream's configuration file.

    * ``region``: the region of the bucket. Default: the one of the AWS configuration, else looked up once.
    * ``endpoint``: the URL or the host of a service other than AWS.
    * ``force_path_style``: put the bucket into the path and not into the host name. Default: true with an endpoint.
    * ``skip_verify``: accept any TLS certificate.
    * ``sign_payload``: sign the content of uploads. Default: true.
    * ``require_content_md5``: send ``Content-MD5`` with deletions. Default: true, except for Tigris.
    * ``put_object_content_md5``: send ``Content-MD5`` with uploads, which buckets with Object Lock need.
    * ``sign_accept_encoding``: accepted for compatibility. The header ``Accept-Encoding`` is never signed.
    * ``storage_class``: the storage class of new objects.
    * ``part_size``: the size of a part of a multipart upload, in bytes, at least 5 MiB. Smaller files are one request.
    * ``concurrency``: how many requests of one upload or one batch of reads are made at once. Default: 5, Cloudflare R2 2.
    * ``access_key_id``, ``secret_access_key``, ``session_token``: credentials. Default: wherever boto3 finds some, else
      ``LITESTREAM_ACCESS_KEY_ID`` and ``LITESTREAM_SECRET_ACCESS_KEY``.
    * ``anonymous``: use no credentials, and sign nothing: for public buckets. Default: false.
    * ``sse_customer_algorithm``, ``sse_customer_key``, ``sse_customer_key_md5``, ``sse_customer_key_path``: encryption with a
      key of 32 bytes of your own (SSE-C), in base64, or the file that holds it.
    * ``sse_kms_key_id``: encryption with a key of AWS KMS.
    """

    region: str
    endpoint: str
    force_path_style: bool
    skip_verify: bool
    sign_payload: bool
    require_content_md5: bool
    put_object_content_md5: bool
    sign_accept_encoding: bool
    storage_class: str
    part_size: int
    concurrency: int
    access_key_id: str
    secret_access_key: str
    session_token: str
    anonymous: bool
    sse_customer_algorithm: str
    sse_customer_key: str
    sse_customer_key_md5: str
    sse_customer_key_path: str
    sse_kms_key_id: str


class Provider(NamedTuple):
    """What is special about a service."""

    name: str
    hosts: tuple[str, ...]
    path_style: bool = False
    content_md5: bool = True
    concurrency: int = _CONCURRENCY
    headers: Mapping[str, str] = {}


_PROVIDERS = (
    Provider("Hetzner", (".your-objectstorage.com",)),
    Provider(
        "Tigris",
        ("fly.storage.tigris.dev", "t3.storage.dev"),
        content_md5=False,
        # Reads after writes are only consistent between regions if every request asks for it.
        headers={"X-Tigris-Consistent": "true"},
    ),
    Provider("DigitalOcean", (".digitaloceanspaces.com",)),
    Provider("Backblaze", (".backblazeb2.com",), path_style=True),
    Provider("Filebase", ("s3.filebase.com",), path_style=True),
    Provider("Scaleway", (".scw.cloud",)),
    Provider("Cloudflare R2", (".r2.cloudflarestorage.com",), concurrency=2),
    Provider("Supabase", (".supabase.co",), path_style=True),
    Provider("Neon", (".neon.tech",), path_style=True),
    Provider("Google Cloud Storage", (".googleapis.com",)),
)
_OTHER = Provider("S3", ())


def provider_of(endpoint: str | None) -> Provider:
    """The provider behind an endpoint, by its host."""
    host = urlsplit(endpoint).hostname or "" if endpoint else ""
    for provider in _PROVIDERS:
        if any(
            f".{host}".endswith(suffix if suffix.startswith(".") else f".{suffix}")
            for suffix in provider.hosts
        ):
            return provider
    return _OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is known about a bucket before the first request. Secrets are not part of ``repr()``."""

    bucket: str
    provider: Provider
    region: str | None
    endpoint: str | None
    path_style: bool
    verify: bool
    sign_payload: bool
    delete_with_md5: bool
    put_with_md5: bool
    part_size: int
    concurrency: int
    #: Nothing is signed.
    anonymous: bool
    #: Access key, secret key, session token.
    credentials: tuple[str, str, str | None] | None = field(repr=False)
    #: Parameters of uploads alone: storage class, KMS.
    of_uploads: Mapping[str, str]
    #: Parameters of everything that touches content: the customer's key.
    of_content: Mapping[str, str] = field(repr=False)


def settings(bucket: str, options: S3Options) -> Settings:
    """Check options and fill in what they leave out.

    Raises:
        ConfigError: a value is impossible, or two of them exclude each other. ``key`` names the option.
    """
    if not bucket:
        raise argument_error("bucket", "the name of the bucket is empty", "write s3://BUCKET/PATH")
    if "/" in bucket and not bucket.startswith("arn:"):
        hint = "pass the name of the bucket and the path as two arguments, or give the whole URL to client_from_url()"
        raise argument_error("bucket", f"not the name of a bucket: {bucket}", hint)
    _check_names(options)
    endpoint = _endpoint(options.get("endpoint"))
    provider = provider_of(endpoint)
    part_size = options.get("part_size", MIN_PART_SIZE)
    _check_number("part_size", part_size, "bytes")
    if part_size < MIN_PART_SIZE:
        raise argument_error("part_size", f"part size must be at least {MIN_PART_SIZE} bytes: {part_size}")
    concurrency = options.get("concurrency", provider.concurrency)
    _check_number("concurrency", concurrency, "requests at once")
    if concurrency < 1:
        raise argument_error("concurrency", f"concurrency must be at least 1: {concurrency}")
    return Settings(
        bucket=bucket,
        provider=provider,
        region=options.get("region"),
        endpoint=endpoint,
        path_style=options.get("force_path_style", endpoint is not None or provider.path_style),
        verify=not options.get("skip_verify", False),
        sign_payload=options.get("sign_payload", True),
        delete_with_md5=options.get("require_content_md5", provider.content_md5),
        put_with_md5=options.get("put_object_content_md5", False),
        part_size=part_size,
        concurrency=concurrency,
        anonymous=options.get("anonymous", False),
        credentials=_credentials(options),
        of_uploads=_of_uploads(options),
        of_content=_customer_key(options, endpoint),
    )


def _check_names(options: S3Options) -> None:
    """Refuse an option that there is not: a replica that is not encrypted because of a typing mistake must not exist."""
    for name in options:
        if name not in S3Options.__annotations__:
            hint = meant(name, sorted(S3Options.__annotations__), "options")
            raise argument_error(name, f"S3 has no option {name}", hint)


def _check_number(name: str, value: object, unit: str) -> None:
    if not isinstance(value, int):
        raise argument_error(name, f"{name} must be a number of {unit}: {value!r}")


def _endpoint(given: str | None) -> str | None:
    if not given:
        return None
    endpoint = given if "://" in given else f"{'http' if is_local_host(given) else 'https'}://{given}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        # Without the text: it may have a password in it.
        raise argument_error(
            "endpoint", "the endpoint is no http or https URL of a host", "write https://HOST"
        )
    return endpoint


def is_local_host(host: str) -> bool:
    """Whether a host, with or without a port, is in this machine or its own network."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return name == "localhost" or name.endswith((".local", ".localhost"))


def _credentials(options: S3Options) -> tuple[str, str, str | None] | None:
    key, secret = options.get("access_key_id"), options.get("secret_access_key")
    if bool(key) != bool(secret):
        missing = "access_key_id" if secret else "secret_access_key"
        raise argument_error(
            missing, f"{missing} is missing", "give both, or neither to use those of the environment"
        )
    if key and options.get("anonymous"):
        raise argument_error(
            "anonymous", "anonymous and access_key_id exclude each other", "leave one of them out"
        )
    return (key, secret, options.get("session_token")) if key and secret else None


def _of_uploads(options: S3Options) -> dict[str, str]:
    found = {}
    if storage_class := options.get("storage_class"):
        found["StorageClass"] = storage_class
    if key := options.get("sse_kms_key_id"):
        found |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    return found


def _customer_key(options: S3Options, endpoint: str | None) -> dict[str, str]:
    """Parameters of SSE-C. No message shows the key."""
    key = options.get("sse_customer_key")
    if path := options.get("sse_customer_key_path"):
        key = _key_in(path)
    if not key:
        return {}
    if options.get("sse_kms_key_id"):
        raise argument_error("sse_kms_key_id", "sse_customer_key and sse_kms_key_id exclude each other")
    if (algorithm := options.get("sse_customer_algorithm", "AES256")) != "AES256":
        raise argument_error("sse_customer_algorithm", f"the algorithm must be AES256: {algorithm}")
    try:
        raw = base64.b64decode(key, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != _KEY_SIZE:
        raise argument_error("sse_customer_key", "the customer key must be 32 bytes in base64") from None
    if endpoint and endpoint.startswith("http:") and not is_local_host(urlsplit(endpoint).netloc):
        raise argument_error(
            "endpoint", "a customer key may only be sent over https", "write https:// in the endpoint"
        )
    digest = base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode()
    if options.get("sse_customer_key_md5", digest) != digest:
        raise argument_error("sse_customer_key_md5", "the MD5 is not that of the customer key")
    return {"SSECustomerAlgorithm": algorithm, "SSECustomerKey": key, "SSECustomerKeyMD5": digest}


def _key_in(path: str) -> str:
    try:
        return re.sub(r"\s", "", Path(path).expanduser().read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in base64"
        message = f"cannot read the customer key in {path}: {reason}"
        raise argument_error("sse_customer_key_path", message) from None
