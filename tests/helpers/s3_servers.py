"""Real S3 servers on 127.0.0.1: SeaweedFS, rclone over a directory, and moto.

What each of them does, as asserted in `tests/process/test_s3_servers.py` (versions 4.48, 1.75.2 and 5.2.5):

| | SeaweedFS | rclone | moto |
|---|---|---|---|
| `If-None-Match: *`, PutObject and multipart | honoured, 412 | ignored | honoured, 412 |
| of 8 that create one key at once | one succeeds; waiters poll each second | most succeed | mostly one, now and then two |
| `If-Match`, PutObject | honoured; missing key: 412 | ignored | honoured; missing key: 404 |
| `If-Match`, DeleteObject | honoured; missing key: 412 | ignored | honoured; missing key: 404 |
| `If-Match`, multipart | honoured | ignored | ignored |
| DeleteObjects: missing keys; quiet | deleted; silent | deleted; silent | deleted; names them all |
| more than 1,000 keys in one DeleteObjects | 400 InvalidArgument | 400 MalformedXML | done |
| order of a listing | folder by folder: `a`, `a/b`, `a-b` | bytes | bytes |
| largest page of a listing | as asked for | 1,000 | as asked for |
| keys `/a` and `a//b` | stored, listed as `a` and `a/b` | 400 | kept |
| key `a` backslash `b` | listed as `a/b` | kept | kept |
| keys `a/` (not empty) | reads as empty | becomes `a` | kept |
| keys `a` and `a/b` together | kept | 500 | kept |
| keys with `.` or `..` for a folder | 400 | 400 | kept |
| names of user metadata | as written | `Like-This` | as written |
| a range | 206 | 200, with Content-Range | 206 |
| ... from the end of the object on, or of an empty one | 416 | 416 | 416 |
| ... of the last 200 bytes of 100 | 206, all | 416 | 206, all |
| ... its checksum header | none | of the whole object | none |
| LastModified in a listing | seconds | milliseconds | seconds |
| a refused upload is answered | at once | after its body: boto3 waits a second | at once |
| small parts that are not the last | 400 EntityTooSmall | taken | 400 EntityTooSmall |
| ETag after multipart: of the upload, later | the same | another | the same |
| aborting an upload twice | 204 | 404 NoSuchUpload | 404 NoSuchUpload |
| wrong secret, wrong key id | 403 | 403 | taken |
| an expired URL | 403 | 400 | taken |
| another region | taken | taken | taken |
| a missing bucket | 404 NoSuchBucket, as we start it | 404 NoSuchBucket | 404 NoSuchBucket |
| SSE-C: reading without the key | 400 | ignored | ignored |

So conditional writes are tried on SeaweedFS alone, and what notices that they are ignored on rclone. moto is for versions,
locks and whatever else of S3 the other two lack.
"""

import contextlib
import functools
import json
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.helpers.process import Child, ChildError, until

ACCESS_KEY = "AKIDLTXCORETEST00001"
SECRET_KEY = "secret-key-of-the-tests-0123456789abcdef"
REGION = "us-east-1"
#: The bucket of SeaweedFS that everybody may read.
PUBLIC = "public"
STARTS = 3  # another process may take a port between our choice and the server's
READY_TIMEOUT_S = 20.0


def program(name: str) -> str:
    """Path of a program that a wheel brought, or that is on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"no {name}: install the extra dev"
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@functools.cache
def _session() -> boto3.Session:
    """One for all clients: the first client of a session reads half a second's worth of JSON."""
    return boto3.Session()


class S3Server:
    """One server with one pair of credentials, over a temporary directory that goes with it."""

    name: ClassVar[str]
    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"ltxcore-{self.name}-"))
        self.log = self.folder / "log"
        self.port = 0
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.child is not None, f"{self.name} is not running"
        return self.child.pid

    def command(self) -> list[str]:
        """Choose ports, write what the program reads, and say how it is started."""
        raise NotImplementedError

    def client(self, **options: Any) -> Any:
        """A boto3 client that answers at once: one attempt, no retries. `options` go to `boto3.client`."""
        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
            signature_version="s3v4",
            response_checksum_validation="when_required",  # rclone sends the checksum of the whole object with a range
        )
        settings = {
            "endpoint_url": self.url,
            "region_name": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "config": config.merge(options.pop("config", Config())),
        }
        return _session().client("s3", **(settings | options))

    def make_bucket(self, name: str) -> str:
        """Create an empty bucket; its name."""
        self._client.create_bucket(Bucket=name)
        return name

    @functools.cached_property
    def _client(self) -> Any:
        return self.client()

    def start(self) -> "S3Server":
        assert threading.current_thread() is threading.main_thread(), "the server would end with this thread"
        for left in reversed(range(STARTS)):
            self.__dict__.pop("_client", None)
            self.child = Child([sys.executable, "-S", "-m", "tests.helpers.leash", *self.command()], self.log)
            try:
                until(self._answers, timeout=READY_TIMEOUT_S, what=self.name)
            except AssertionError:
                self.kill()
                if not left:
                    raise ChildError(f"{self.name} does not start\n{self.child.tail()}") from None
            else:
                return self
        raise AssertionError("unreachable")

    def _answers(self) -> bool:
        assert self.child is not None
        if not self.child.alive():
            raise ChildError(f"{self.name} has ended: {self.child.popen.poll()}")
        try:
            self._client.list_buckets()
            self._warm_up()
        except (BotoCoreError, ClientError):
            return False
        return True

    def _warm_up(self) -> None:
        """What has to work, too, before the server is ready."""

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def stop(self) -> None:
        """End it, at once: nothing in it is worth an orderly end, for which SeaweedFS takes 15 seconds."""
        self.kill()
        if "_client" in self.__dict__:
            self._client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "S3Server":
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_error: object) -> None:
        self.stop()


class SeaweedFS(S3Server):
    """`weed mini`: master, volume server, filer and S3 gateway in one process.

    `weed server` does the same and takes 3.5 seconds to start, most of them in fixed sleeps.
    """

    name = "seaweedfs"
    SERVICES = ("master", "volume", "filer", "s3", "admin")  # the last one cannot be turned off
    VOLUMES = 4000

    def command(self) -> list[str]:
        ports = free_ports(2 * len(self.SERVICES))
        self.ports = ports
        self.port = ports[2 * self.SERVICES.index("s3")]
        options = [
            f"-{service}.port{kind}={port}"
            for (service, kind), port in zip([(s, k) for s in self.SERVICES for k in ("", ".grpc")], ports)
        ]
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)  # of a start that failed: it holds other ports
        data.mkdir()
        self._write_configuration()
        return [
            program("weed"),
            "-logtostderr=true",
            f"-config_dir={self.folder}",
            "mini",
            *options,
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=128",
            f"-volume.max={self.VOLUMES}",
            f"-s3.config={self.folder / 's3.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",  # otherwise a missing bucket is created by the first write
            f"-s3.localSocket={self.folder / 's3.sock'}",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
        ]

    def _write_configuration(self) -> None:
        # Every bucket has volumes of its own, seven from the start unless told otherwise.
        (self.folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        tester = {"name": "tester", "credentials": credentials, "actions": ["Admin"]}
        # Who signs nothing may read one bucket.
        anonymous = {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [tester, anonymous]}))

    def _warm_up(self) -> None:
        # It lists buckets before it has a place for objects.
        with contextlib.suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self.make_bucket("warm-up")
        self._client.put_object(Bucket="warm-up", Key="object", Body=b"x" * 5000)

    def stop(self) -> None:
        super().stop()
        for port in getattr(self, "ports", ()):  # its gRPC sockets have fixed places and stay behind
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


class Rclone(S3Server):
    """`rclone serve s3`: folders are buckets, files are objects, metadata is in its memory."""

    name = "rclone"

    def command(self) -> list[str]:
        (self.port,) = free_ports(1)
        self.data = self.folder / "data"
        self.data.mkdir(exist_ok=True)
        return [
            program("rclone"),
            "serve",
            "s3",
            f"--addr=127.0.0.1:{self.port}",
            f"--auth-key={ACCESS_KEY},{SECRET_KEY}",
            f"--config={self.folder / 'rclone.conf'}",
            f"--cache-dir={self.folder / 'cache'}",
            str(self.data),
        ]


class Moto(S3Server):
    """`moto_server`: everything in memory, any credentials will do."""

    name = "moto"

    def command(self) -> list[str]:
        (self.port,) = free_ports(1)
        return [sys.executable, program("moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]


SERVERS: dict[str, type[S3Server]] = {kind.name: kind for kind in (SeaweedFS, Rclone, Moto)}
