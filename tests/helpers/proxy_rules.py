"""What the fault proxy does to a request: rules as data, since it runs in a process of its own.

A rule says which requests it is for (operation, method, part of the path), how many of them it lets pass first, how often it
applies, and the fault. The first rule that applies to a request decides. Nothing depends on time: a rule with a `chance`
decides by its seed, the request line and how often that line came, so parallel connections do not change the outcome.
"""

import dataclasses
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

FAULTS = frozenset(
    {
        "drop",  # close the connection without forwarding the request
        "lose",  # forward it, and close instead of answering
        "cut",  # forward the head and `at` bytes of its body, then close both sides
        "delay",  # wait `seconds`, then go on
        "hang",  # not a byte for `seconds`, or until the client gives up
        "respond",  # answer with `status` and an S3 error `code`; do not forward
        "truncate",  # `at` bytes of the answer's body, then close
        "reset",  # `at` bytes of the answer's body, then RST
        "stall",  # `at` bytes of the answer's body, then nothing, as in "hang"
        "garble",  # invert the byte of the answer's body at `at`
        "garbage",  # an answer that is not HTTP
        "length",  # say that the body has `at` bytes more (or, negative, fewer, which are not sent)
    }
)
SECRET = re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature)=[^&]*")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One fault and the requests that it is for; `times` of None is for ever."""

    fault: str
    operation: str | None = None
    method: str | None = None
    path: str | None = None  # a regular expression, searched in the path and the query
    skip: int = 0
    times: int | None = 1
    chance: float = 1.0
    seed: int = 0
    seconds: float | None = None
    at: int | None = None  # default: the middle of the body
    status: int = 500
    code: str = "InternalError"
    headers: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"no such fault: {self.fault}")


class Rules:
    """The rules of a proxy, and how often each has applied."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._seen: list[int] = []
        self._lines: Counter[str] = Counter()

    def add(self, **rule: Any) -> None:
        self._rules.append(Rule(**rule))
        self._seen.append(0)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def fault_for(self, method: str, target: str, operation: str) -> Rule | None:
        """The rule that this request falls under; the question counts as the request."""
        line = f"{method} {without_secrets(target)}"
        self._lines[line] += 1
        for number, rule in enumerate(self._rules):
            if not _is_for(rule, method, target, operation) or not _by_chance(rule, line, self._lines[line]):
                continue
            seen = self._seen[number] = self._seen[number] + 1
            if seen > rule.skip and (rule.times is None or seen <= rule.skip + rule.times):
                return rule
        return None


def _is_for(rule: Rule, method: str, target: str, operation: str) -> bool:
    return (
        rule.method in (None, method)
        and rule.operation in (None, operation)
        and (rule.path is None or re.search(rule.path, unquote(target)) is not None)
    )


def _by_chance(rule: Rule, line: str, time: int) -> bool:
    return rule.chance >= 1 or zlib.crc32(f"{rule.seed} {time} {line}".encode()) < rule.chance * 2**32


def without_secrets(target: str) -> str:
    """A request's path and query without what a signed URL must not show."""
    return SECRET.sub(r"\1=...", target)


BY_QUERY = [  # of bucket or key: method, parameter, operation
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "uploadId", "ListParts"),
    ("GET", "list-type", "ListObjectsV2"),
    ("PUT", "uploadId", "UploadPart"),
    ("POST", "delete", "DeleteObjects"),
    ("POST", "uploads", "CreateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
]
# What a bucket or an object is asked about: its policy, its tags and so on. Not what we do to objects.
ABOUT = {
    "acl",
    "cors",
    "lifecycle",
    "location",
    "object-lock",
    "policy",
    "retention",
    "tagging",
    "versioning",
}
OF_BUCKET = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
OF_KEY = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


def operation(method: str, target: str, *, copies: bool = False) -> str:
    """The S3 operation of a request with the bucket in its path, as boto3 spells it."""
    parts = urlsplit(target)
    query = {name for name, _value in parse_qsl(parts.query, keep_blank_values=True)}
    for verb, parameter, name in BY_QUERY:
        if verb == method and parameter in query:
            return name
    if query & ABOUT:
        return "Other"
    bucket, _, key = parts.path.lstrip("/").partition("/")
    if copies and key:
        return "CopyObject"
    if not bucket:
        return "ListBuckets" if method == "GET" else "Other"
    return (OF_KEY if key else OF_BUCKET).get(method, "Other")
