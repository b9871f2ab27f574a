"""Which requests the fault proxy breaks, and what it takes them for."""

import pytest

from tests.helpers.proxy_rules import Rule, Rules, operation


@pytest.mark.parametrize("method, target, expected", [
    ("GET", "/", "ListBuckets"),
    ("GET", "/b?list-type=2&prefix=a%2F", "ListObjectsV2"),
    ("GET", "/b/?prefix=a", "ListObjects"),
    ("HEAD", "/b", "HeadBucket"),
    ("GET", "/b/a/b", "GetObject"),
    ("PUT", "/b/a?partNumber=1&uploadId=x", "UploadPart"),
    ("POST", "/b/a?uploads", "CreateMultipartUpload"),
    ("POST", "/b/a?uploadId=x", "CompleteMultipartUpload"),
    ("DELETE", "/b/a?uploadId=x", "AbortMultipartUpload"),
    ("DELETE", "/b/a", "DeleteObject"),
    ("POST", "/b?delete", "DeleteObjects"),
    ("GET", "/b?object-lock", "Other"),
])  # fmt: skip
def test_operations_are_told_apart(method: str, target: str, expected: str) -> None:
    assert operation(method, target) == expected
    assert operation("PUT", "/b/a", copies=True) == "CopyObject"


def test_rules_are_for_the_requests_that_they_say() -> None:
    rules = Rules()
    rules.add(fault="drop", operation="GetObject", path=r"/ltx/0/", skip=1, times=2)
    rules.add(fault="lose", method="GET", times=None)

    def faults(target: str, *, count: int) -> list[str | None]:
        found = [rules.fault_for("GET", target, "GetObject") for _ in range(count)]
        return [rule and rule.fault for rule in found]

    assert faults("/b/ltx%2F0/1", count=4) == ["lose", "drop", "drop", "lose"]
    assert faults("/b/ltx/1/1", count=2) == ["lose", "lose"]
    assert rules.fault_for("PUT", "/b/ltx/0/1", "PutObject") is None
    rules.clear()
    assert faults("/b/ltx/0/1", count=1) == [None]
    with pytest.raises(ValueError, match="no such fault: dorp"):
        Rule("dorp")


def test_chance_is_decided_by_the_seed_and_not_by_the_order() -> None:
    targets = [f"/b/{number}" for number in range(400)]

    def chosen(order: list[str], seed: int) -> set[str]:
        rules = Rules()
        rules.add(fault="drop", chance=0.25, seed=seed, times=None)
        return {target for target in order if rules.fault_for("GET", target, "GetObject")}

    assert chosen(targets, 1) == chosen(targets[::-1], 1) != chosen(targets, 2)
    assert 60 < len(chosen(targets, 1)) < 140
