"""What the S3 servers of the tests really do. The table in `tests/helpers/s3_servers.py` is read off from here.

A new version of a server may fail these: then change the table, and look for the tests that relied on it.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError
from botocore.handlers import add_expect_header

from tests.helpers import s3_servers
from tests.helpers.process import ROOT, environment, until
from tests.helpers.s3_servers import S3Server

pytestmark = pytest.mark.process
WRONG_ETAG = '"0123456789abcdef0123456789abcdef"'
numbers = itertools.count()


@pytest.fixture(params=sorted(s3_servers.SERVERS))
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(server: S3Server) -> Iterator[Any]:
    made = server.client()
    yield made
    made.close()


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.make_bucket(f"bucket-{next(numbers)}")


def outcome(call: Callable[..., Any], **arguments: Any) -> Any:
    """200, or the status and code of an error."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    return 200


def keys(client: Any, bucket: str, **arguments: Any) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket, **arguments).get("Contents", [])]


def multipart(client: Any, bucket: str, key: str, *sizes: int, **conditions: str) -> Any:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**where, PartNumber=n, Body=bytes(size))["ETag"]}
        for n, size in enumerate(sizes, 1)
    ]
    return client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **conditions)


def test_create_if_absent(server: S3Server, client: Any, bucket: str) -> None:
    taken = {"rclone": 200}.get(server.name, (412, "PreconditionFailed"))
    place = {"Bucket": bucket, "Key": "key"}
    assert outcome(client.put_object, **place, Body=b"old", IfNoneMatch="*") == 200
    assert outcome(client.put_object, **place, Body=b"new", IfNoneMatch="*") == taken
    assert client.get_object(**place)["Body"].read() == (b"new" if taken == 200 else b"old")
    whole = lambda **conditions: multipart(client, bucket, "key", 9, **conditions)  # noqa: E731
    assert outcome(whole, IfNoneMatch="*") == taken
    assert outcome(lambda: multipart(client, bucket, "new", 9, IfNoneMatch="*")) == 200


def test_create_if_absent_at_once(server: S3Server, client: Any, bucket: str) -> None:
    def write(number: int) -> Any:
        return outcome(client.put_object, Bucket=bucket, Key="key", Body=b"%d" % number, IfNoneMatch="*")

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, range(8)))
    if server.name == "seaweedfs":
        assert sorted(map(str, outcomes)) == ["(412, 'PreconditionFailed')"] * 7 + ["200"]
    elif server.name == "rclone":
        assert outcomes.count(200) > 1
    else:  # it looks and then writes, and another thread may come in between
        assert 1 <= outcomes.count(200) == 8 - outcomes.count((412, "PreconditionFailed"))


def test_replace_if_it_is_the_same(server: S3Server, client: Any, bucket: str) -> None:
    place = {"Bucket": bucket, "Key": "key"}
    etag = client.put_object(**place, Body=b"old")["ETag"]
    refused = {"rclone": 200}.get(server.name, (412, "PreconditionFailed"))
    assert outcome(client.put_object, **place, Body=b"new", IfMatch=WRONG_ETAG) == refused
    if server.name == "rclone":
        return
    assert outcome(client.put_object, **place, Body=b"new", IfMatch=etag) == 200
    missing = {"moto": (404, "NoSuchKey")}.get(server.name, refused)
    assert outcome(client.put_object, Bucket=bucket, Key="none", Body=b"new", IfMatch=etag) == missing
    of_parts = {"moto": 200}.get(server.name, refused)
    assert outcome(lambda: multipart(client, bucket, "key", 9, IfMatch=WRONG_ETAG)) == of_parts


def test_delete_if_it_is_the_same(server: S3Server, client: Any, bucket: str) -> None:
    place = {"Bucket": bucket, "Key": "key"}
    etag = client.put_object(**place, Body=b"old")["ETag"]
    refused = {"rclone": 200}.get(server.name, (412, "PreconditionFailed"))
    assert outcome(client.delete_object, **place, IfMatch=WRONG_ETAG) == refused
    assert outcome(client.delete_object, **place, IfMatch=etag) == 200
    missing = {"moto": (404, "NoSuchKey")}.get(server.name, refused)
    assert outcome(client.delete_object, **place, IfMatch=etag) == missing


def test_batches_of_deletes(server: S3Server, client: Any, bucket: str) -> None:
    def delete(*names: str, **how: Any) -> Any:
        return client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in names], **how})

    for key in ("one", "two"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = delete("one", "none")
    assert [each["Key"] for each in answer["Deleted"]] == ["one", "none"] and "Errors" not in answer
    answer = delete("two", "nor/this", Quiet=True)
    assert ("Deleted" in answer) == (server.name == "moto") and "Errors" not in answer
    assert keys(client, bucket) == []
    assert outcome(client.delete_object, Bucket=bucket, Key="none") == 200
    too_many = {"seaweedfs": (400, "InvalidArgument"), "rclone": (400, "MalformedXML"), "moto": 200}
    assert outcome(lambda: delete(*map(str, range(1001)))) == too_many[server.name]


# As Litestream names files: no file has the name of a folder, and all names in a folder are of one length.
LTX = [f"db/ltx/{level}/{txid:016x}-{txid:016x}.ltx" for level in (0, 1, 9) for txid in (1, 2, 0x1F)]


def test_listings_of_ltx_files(client: Any, bucket: str) -> None:
    for key in reversed(LTX):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert keys(client, bucket) == keys(client, bucket, Prefix="db/ltx/") == LTX
    assert keys(client, bucket, Prefix="db/ltx/1/") == LTX[3:6]
    assert keys(client, bucket, Prefix="db/ltx/0/", StartAfter=LTX[0]) == LTX[1:3]
    assert keys(client, bucket, Prefix="db/ltx/0/", StartAfter="db/ltx/0/0000000000000002") == LTX[1:3]
    assert keys(client, bucket, Prefix="db/ltx/0/", StartAfter="db/ltx/0/f") == []
    assert keys(client, bucket, StartAfter=LTX[4], MaxKeys=3) == LTX[5:8]
    levels = client.list_objects_v2(Bucket=bucket, Prefix="db/ltx/", Delimiter="/")["CommonPrefixes"]
    assert [each["Prefix"] for each in levels] == ["db/ltx/0/", "db/ltx/1/", "db/ltx/9/"]
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="db/ltx/", PaginationConfig={"PageSize": 2}
    )
    assert [each["Key"] for page in pages for each in page["Contents"]] == LTX


def test_order_of_a_listing(server: S3Server, client: Any, bucket: str) -> None:
    for key in ("a0", "a/b", "B", "a.b", "a-b", "a/z"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    by_folder, by_bytes = ["B", "a/b", "a/z", "a-b", "a.b", "a0"], ["B", "a-b", "a.b", "a/b", "a/z", "a0"]
    assert keys(client, bucket) == (by_folder if server.name == "seaweedfs" else by_bytes)


def test_pages_of_a_thousand_keys(rclone: S3Server) -> None:
    assert isinstance(rclone, s3_servers.Rclone)
    client = rclone.client()
    folder = rclone.data / rclone.make_bucket("thousands") / "p"
    folder.mkdir()
    for number in range(1001):
        (folder / f"{number:05}").touch()
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket="thousands"))
    assert [page["KeyCount"] for page in pages] == [1000, 1]
    assert [page["IsTruncated"] for page in pages] == [True, False]
    client.close()


@pytest.mark.slow
def test_pages_beyond_a_thousand_keys(server: S3Server, client: Any, bucket: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=bucket, Key=f"{n:05}", Body=b""), range(1001)))
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    assert [page["KeyCount"] for page in pages] == [1000, 1]
    assert len(keys(client, bucket, MaxKeys=2000)) == (1000 if server.name == "rclone" else 1001)


ODD = ["sp ace", "plus+", "per%41", "uni\u00e9", "q?x", "h#x", "am&p", "eq=", "~", "'", '"', "<", "d/e f"]


def test_odd_keys(client: Any, bucket: str) -> None:
    for key in ODD:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        with urllib.request.urlopen(signed(client, bucket, key), timeout=10) as answer:
            assert answer.read() == key.encode()
    assert keys(client, bucket) == sorted(ODD, key=str.encode)


def test_keys_that_are_no_paths(server: S3Server, client: Any, bucket: str) -> None:
    listed = {
        "seaweedfs": {"a": ["a"], "/a": ["a"], "a//b": ["a/b"], "a/": ["a/"], "a/../b": 400, "a\\b": ["a/b"]},
        "rclone": {"a": ["a"], "/a": 400, "a//b": 400, "a/": ["a"], "a/../b": 400},
        "moto": {},
    }[server.name]
    # rclone answers a refused upload only when it has the body, and boto3 waits a second before it sends one unasked.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    for key in ("a", "/a", "a//b", "a/", "a/../b", "a\\b"):
        put = outcome(client.put_object, Bucket=bucket, Key=key, Body=b"x")
        found = keys(client, bucket) if put == 200 else put[0]
        assert found == listed.get(key, [key]), key
        for each in keys(client, bucket):
            client.delete_object(Bucket=bucket, Key=each)
    client.put_object(Bucket=bucket, Key="c", Body=b"x")
    below = outcome(client.put_object, Bucket=bucket, Key="c/d", Body=b"x")
    assert below == ((500, "InternalError") if server.name == "rclone" else 200)


def test_user_metadata_and_times(server: S3Server, client: Any, bucket: str) -> None:
    place, text = {"Bucket": bucket, "Key": "key"}, "2024-01-01T00:00:00.123456789Z"
    before = time.time()
    client.put_object(**place, Body=b"x", Metadata={"litestream-timestamp": text})
    head = client.head_object(**place)
    name = "Litestream-Timestamp" if server.name == "rclone" else "litestream-timestamp"
    assert head["Metadata"] == {name: text}
    (listed,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert head["LastModified"].microsecond == 0
    assert abs(listed["LastModified"].timestamp() - before) < 10
    times = set()
    for _ in range(2 if server.name == "rclone" else 1):
        client.put_object(**place, Body=b"x")
        times.add(client.list_objects_v2(Bucket=bucket)["Contents"][0]["LastModified"].microsecond)
    assert times != {0} if server.name == "rclone" else times == {0}


RANGES = {
    "bytes=10-19": (10, 19), "bytes=90-200": (90, 99), "bytes=-10": (90, 99), "bytes=5-": (5, 99),
    "bytes=-200": (0, 99), "bytes=100-": None, "bytes=100-110": None,
}  # fmt: skip


def test_ranges(server: S3Server, client: Any, bucket: str) -> None:
    place, has_206 = {"Bucket": bucket, "Key": "key"}, server.name != "rclone"
    client.put_object(**place, Body=bytes(range(100)))
    for wanted, found in RANGES.items():
        if found is None or (wanted == "bytes=-200" and not has_206):
            assert outcome(client.get_object, **place, Range=wanted) == (416, "InvalidRange")
            continue
        answer = client.get_object(**place, Range=wanted)
        first, last = found
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == (206 if has_206 else 200)
        assert answer["ContentRange"] == f"bytes {first}-{last}/100"
        assert answer["Body"].read() == bytes(range(first, last + 1))


def test_ranges_of_nothing_and_their_checksums(server: S3Server, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert outcome(client.get_object, Bucket=bucket, Key="empty", Range="bytes=0-") == (416, "InvalidRange")
    client.put_object(Bucket=bucket, Key="key", Body=b"0123")
    checking = server.client(config=Config(response_checksum_validation="when_supported"))
    body = checking.get_object(Bucket=bucket, Key="key", Range="bytes=1-2")["Body"]
    if server.name == "rclone":
        with pytest.raises(FlexibleChecksumError):
            body.read()
    else:
        assert body.read() == b"12"
    checking.close()


def test_multipart(server: S3Server, client: Any, bucket: str) -> None:
    place = {"Bucket": bucket, "Key": "key"}
    small = outcome(lambda: multipart(client, bucket, "key", 9, 9))
    assert small == (200 if server.name == "rclone" else (400, "EntityTooSmall"))
    etag = multipart(client, bucket, "key", 5 << 20, 1)["ETag"]
    head = client.head_object(**place)
    assert head["ContentLength"] == (5 << 20) + 1
    assert (head["ETag"] == etag) == (server.name != "rclone")
    upload = client.create_multipart_upload(Bucket=bucket, Key="never")["UploadId"]
    never = {"Bucket": bucket, "Key": "never", "UploadId": upload}
    client.upload_part(**never, PartNumber=1, Body=b"x")
    assert keys(client, bucket) == ["key"]
    assert outcome(client.abort_multipart_upload, **never) == 200
    again = 200 if server.name == "seaweedfs" else (404, "NoSuchUpload")
    assert outcome(client.abort_multipart_upload, **never) == again


def signed(client: Any, bucket: str, key: str, expires: int = 60) -> str:
    url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=expires)
    return str(url)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_signed_urls(server: S3Server, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="key", Body=b"0123456789")
    url = signed(client, bucket, "key")
    for first in (2, 4):  # one URL for every range
        request = urllib.request.Request(url, headers={"Range": f"bytes={first}-{first + 1}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read() == b"0123456789"[first : first + 2]
            assert answer.headers["Content-Range"] == f"bytes {first}-{first + 1}/10"
    assert status(url[:-4] + "0000") == (200 if server.name == "moto" else 403)
    assert status(f"{server.url}/{bucket}/key") == (400 if server.name == "rclone" else 403)


def test_expired_urls(seaweedfs: S3Server, rclone: S3Server, moto: S3Server) -> None:
    urls = {}
    for server in (seaweedfs, rclone, moto):
        client = server.client()
        client.put_object(Bucket=server.make_bucket("expiry"), Key="key", Body=b"x")
        urls[server.name] = signed(client, "expiry", "key", expires=1)
        client.close()
    time.sleep(2.1)  # they count whole seconds
    assert {name: status(url) for name, url in urls.items()} == {"seaweedfs": 403, "rclone": 400, "moto": 200}


def test_wrong_credentials_and_regions(server: S3Server, client: Any, bucket: str) -> None:
    for wrong, code in [
        ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "AKIDWRONG"}, "InvalidAccessKeyId"),
    ]:
        stranger = server.client(**wrong)
        refused = 200 if server.name == "moto" else (403, code)
        assert outcome(stranger.list_objects_v2, Bucket=bucket) == refused
        assert outcome(stranger.put_object, Bucket=bucket, Key="key", Body=b"") == refused
        stranger.close()
    elsewhere = server.client(region_name="eu-west-3")
    assert outcome(elsewhere.list_objects_v2, Bucket=bucket) == 200
    elsewhere.close()


def test_missing_buckets_and_keys(client: Any, bucket: str) -> None:
    place = {"Bucket": "no-such-bucket", "Key": "key"}
    for call in (
        lambda: client.list_objects_v2(Bucket="no-such-bucket"),
        lambda: client.get_object(**place),
        lambda: client.put_object(**place, Body=b""),
        lambda: client.create_multipart_upload(**place),
        lambda: client.delete_objects(Bucket="no-such-bucket", Delete={"Objects": [{"Key": "key"}]}),
    ):
        assert outcome(call) == (404, "NoSuchBucket")
    assert outcome(client.head_bucket, Bucket="no-such-bucket") == (404, "404")
    assert outcome(client.head_object, **place) == (404, "404")
    assert outcome(client.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert outcome(client.head_object, Bucket=bucket, Key="none") == (404, "404")


def test_encryption_with_a_key_of_the_customer(server: S3Server, client: Any, bucket: str) -> None:
    place, key = (
        {"Bucket": bucket, "Key": "key"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32},
    )
    client.put_object(**place, Body=b"x", **key)
    assert client.get_object(**place, **key)["Body"].read() == b"x"
    without = outcome(client.get_object, **place)
    assert (without == 200) == (server.name != "seaweedfs")


OWNER = """
import sys, time
from pathlib import Path
from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import Rclone
server = Rclone().start()
proxy = Proxy(Path(sys.argv[1]) / "log", server.url)
print(server.pid, proxy.pid, server.folder, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_stopped_server() -> None:
    with s3_servers.Rclone() as server:
        pid, folder = server.pid, server.folder
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is the kernel's of Linux")
def test_no_server_and_no_proxy_outlives_a_killed_owner(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    ) as owner:
        assert owner.stdout is not None
        *pids, folder = owner.stdout.readline().split()
        owner.kill()
    try:
        for pid in pids:
            until(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists(), what="end of a child")
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["rm", "-r", folder], check=True)
