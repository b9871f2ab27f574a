"""URLs of S3: ``s3://bucket/path?region=...``, with all the forms and parameters that Litestream knows."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from ltxcore._process.units import parse_size
from ltxcore._process.urls import shown
from ltxcore.clients._urls import url_error, url_parameters

if TYPE_CHECKING:
    from ltxcore.clients.s3._settings import S3Options

_Kind = Literal["text", "flag", "count", "size"]

# Every name can also be written with hyphens, such as force-path-style.
_PARAMETERS: dict[str, tuple[str, _Kind]] = {
    "region": ("region", "text"),
    "endpoint": ("endpoint", "text"),
    "forcePathStyle": ("force_path_style", "flag"),
    "skipVerify": ("skip_verify", "flag"),
    "signPayload": ("sign_payload", "flag"),
    "requireContentMD5": ("require_content_md5", "flag"),
    "putObjectContentMD5": ("put_object_content_md5", "flag"),
    "signAcceptEncoding": ("sign_accept_encoding", "flag"),
    "storageClass": ("storage_class", "text"),
    "partSize": ("part_size", "size"),
    "concurrency": ("concurrency", "count"),
    "anonymous": ("anonymous", "flag"),
    "sseCustomerAlgorithm": ("sse_customer_algorithm", "text"),
    "sseCustomerKey": ("sse_customer_key", "text"),
    "sseCustomerKeyMD5": ("sse_customer_key_md5", "text"),
    "sseKmsKeyId": ("sse_kms_key_id", "text"),
}
_KNOWN = _PARAMETERS | {option.replace("_", "-"): (option, kind) for option, kind in _PARAMETERS.values()}
_FLAGS = dict.fromkeys(("true", "1", "t", "yes"), True) | dict.fromkeys(("false", "0", "f", "no"), False)

# What is the bucket, the region and the endpoint in a host. A group that is missing is not set.
_HOSTS = [
    re.compile(pattern)
    for pattern in (
        r"(?P<bucket>.+)\.s3(?:\.(?P<region>[^.]+))?\.amazonaws\.com",
        r"(?P<bucket>.+)\.(?P<endpoint>(?P<region>[^.]+)\.digitaloceanspaces\.com)",
        r"(?P<bucket>.+)\.(?P<endpoint>s3\.(?P<region>[^.]+)\.backblazeb2\.com)",
        r"(?P<bucket>.+)\.(?P<endpoint>s3\.filebase\.com)",
        r"(?P<bucket>.+)\.(?P<endpoint>s3\.(?P<region>[^.]+)\.scw\.cloud)",
        r"(?P<bucket>[^.]+)\.(?P<endpoint>br-[^.]+\.storage\.[^.]+\.(?P<region>[^.]+)\.[^.]+\.neon\.tech)",
    )
]
_ACCESS_POINT = re.compile(
    r"(arn:aws[^:/]*:s3[^:/]*:(?P<region>[^:/]*):[^:/]*:accesspoint[:/][^/]+)(?:/(?P<path>.*))?"
)


class Location(NamedTuple):
    """What a URL means."""

    bucket: str
    path: str
    options: S3Options


def parse(url: str, given: S3Options, endpoint: str | None = None, bucket: str | None = None) -> Location:
    """The bucket, the path and the options of a URL.

    Args:
        url: the URL, which begins with ``s3://``.
        given: options from elsewhere, which override those of the URL.
        endpoint: the endpoint if neither names one.
        bucket: the bucket, instead of that in the URL.

    Raises:
        ConfigError: the URL has no bucket, or a parameter that is unknown or has an impossible value.
    """
    rest = url.partition("://")[2].partition("?")[0]
    if "#" in url:
        raise url_error(f"the URL has a #: {shown(url)}", hint="write %23 if it belongs to the path")
    options = _options(url)
    if rest.startswith("arn:"):
        return _access_point(url, rest, options | given)
    host, _, path = rest.partition("/")
    endpoint = given.get("endpoint") or options.get("endpoint") or endpoint
    found, of_host = (host, cast("S3Options", {})) if endpoint else _host(host)
    if endpoint:
        options["endpoint"] = endpoint
    if given.get("endpoint"):
        # As in Litestream: an endpoint of the configuration file means path style, whatever the URL says.
        options.pop("force_path_style", None)
    if not (bucket := bucket or found):
        raise url_error(f"the URL names no bucket: {shown(url)}", hint="write s3://BUCKET/PATH")
    return Location(bucket, _path(path), of_host | options | given)


def _path(text: str) -> str:
    return posixpath.normpath(f"/{unquote(text)}").lstrip("/")


def _access_point(url: str, rest: str, options: S3Options) -> Location:
    found = _ACCESS_POINT.fullmatch(rest)
    if found is None:
        raise url_error(
            f"not the ARN of an access point: {shown(url)}",
            hint="write s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME",
        )
    region: dict[str, Any] = {"region": found["region"]} if found["region"] else {}
    return Location(found[1], _path(found["path"] or ""), cast("S3Options", region) | options)


def _host(host: str) -> tuple[str, S3Options]:
    """The bucket in a host, and what else is in it."""
    for pattern in _HOSTS:
        if found := pattern.fullmatch(host):
            options = {name: value for name, value in found.groupdict().items() if value and name != "bucket"}
            return found["bucket"], cast("S3Options", options)
    if ":" in host and not (urlsplit(f"//{host}").hostname or "").endswith(".com"):
        # The form of MinIO: bucket.host:port.
        bucket, dot, rest = host.partition(".")
        return (bucket, {"endpoint": f"http://{rest}", "region": "us-east-1"}) if dot else ("", {})
    return host, {}


def _options(url: str) -> S3Options:
    found: dict[str, Any] = {}
    for name, text in url_parameters(url, _KNOWN).items():
        option, kind = _KNOWN[name]
        if option in found:
            raise url_error(f"parameter given twice in the URL {shown(url)}: {name}", hint="give it once")
        try:
            found[option] = _value(text, kind)
        except ValueError as error:
            message = f"impossible value of the parameter {name} in the URL {shown(url)}: {text!r}"
            raise url_error(message, hint=str(error)) from None
    return cast("S3Options", found)


def _value(text: str, kind: _Kind) -> str | bool | int:
    if kind == "flag":
        if text.lower() not in _FLAGS:
            raise ValueError("write true or false")
        return _FLAGS[text.lower()]
    if kind == "text":
        return text
    number = parse_size(text) if kind == "size" else int(text) if text.isdecimal() else 0
    if number < 1:
        raise ValueError("write a positive number")
    return number
