"""Real web servers on 127.0.0.1 over a folder: Python's own, which has no byte ranges, nginx and rclone."""

import os
import random
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest

import ltxcore
from ltxcore import ltx

from tests.helpers.process import Child, ChildError, until
from tests.helpers.s3_servers import free_ports, program
from tests.unit.memory import ltx_file

STARTS = 3
READY_TIMEOUT_S = 20.0
#: Of 512 bytes each, which cannot be compressed: files of several ranges.
PAGES = 6000


class WebServer:
    """One server over one folder, which the caller fills."""

    name: ClassVar[str]
    has_ranges: ClassVar[bool] = True
    #: Who may read: nobody else, if this is set.
    user, password = "", ""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Path(tempfile.mkdtemp(prefix=f"ltxcore-{self.name}-"))
        self.log = self.folder / "log"
        self.port = 0
        self.child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """How it is started on `port`."""
        raise NotImplementedError

    def __enter__(self) -> "WebServer":
        for left in reversed(range(STARTS)):
            (self.port,) = free_ports(1)
            self.child = Child([sys.executable, "-S", "-m", "tests.helpers.leash", *self.command()], self.log)
            try:
                until(self._answers, timeout=READY_TIMEOUT_S, what=self.name)
            except AssertionError:
                self.child.kill()
                if not left:
                    raise ChildError(f"{self.name} does not start\n{self.child.tail()}") from None
            else:
                return self
        raise AssertionError("unreachable")

    def __exit__(self, *_error: object) -> None:
        if self.child is not None:
            self.child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self.child is not None
        if not self.child.alive():
            raise ChildError(f"{self.name} has ended: {self.child.popen.poll()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"{self.url}/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()  # it answers
        except OSError:
            return False
        return True


class PythonServer(WebServer):
    """`python -m http.server`."""

    name = "http.server"
    has_ranges = False

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "http.server",
            "--bind=127.0.0.1",
            f"--directory={self.root}",
            str(self.port),
        ]


def nginx() -> str | None:
    """The path of nginx, if it is installed."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


class Nginx(WebServer):
    """nginx with `autoindex`, in the foreground, with all of its files in a folder of its own."""

    name = "nginx"
    pages = "html"

    def command(self) -> list[str]:
        found = nginx()
        if found is None:
            pytest.skip("no nginx: install Debian's package nginx-light")
        places = "".join(
            f"{name}_temp_path {self.folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/errors;\n"
            "events {}\n"
            f"http {{ access_log off; {places} default_type application/octet-stream;\n"
            f"server {{ listen 127.0.0.1:{self.port}; root {self.root}; autoindex on;"
            f" autoindex_format {self.pages}; }} }}\n"
        )
        # It may run as another user if it is started by root.
        for each in (self.root, self.folder):
            each.chmod(0o755)
        return [found, "-c", str(configuration), "-e", str(self.folder / "errors")]


class NginxJSON(Nginx):
    """The same with `autoindex_format json`."""

    name = "nginx-json"
    pages = "json"


class RcloneHTTP(WebServer):
    """`rclone serve http`, with basic authentication."""

    name = "rclone-http"
    user, password = "reader", "pass-w0rd/of:tests"

    def command(self) -> list[str]:
        return [
            program("rclone"),
            "serve",
            "http",
            f"--addr=127.0.0.1:{self.port}",
            *([f"--user={self.user}", f"--pass={self.password}"] if self.user else []),
            f"--config={self.folder / 'rclone.conf'}",
            f"--cache-dir={self.folder / 'cache'}",
            "--dir-cache-time=0s",
            str(self.root),
        ]


class OpenRclone(RcloneHTTP):
    """The same, for everybody."""

    name = "rclone-open"
    user, password = "", ""


def with_ranges(root: Path) -> WebServer:
    """A server with byte ranges, whatever there is on this machine."""
    return Nginx(root) if nginx() else OpenRclone(root)


SERVERS: dict[str, type[WebServer]] = {
    kind.name: kind for kind in (PythonServer, Nginx, NginxJSON, RcloneHTTP)
}


def fill(folder: Path, *, layout: str = "ltx/{}") -> Path:
    """A replica of two transactions and a snapshot, as a server finds it. The first file is one of several ranges."""
    chance = random.Random(7)
    pages = {pgno: chance.randbytes(512) for pgno in range(1, PAGES + 1)}
    files = {
        (0, 1, 1): ltx_file(pages, commit=PAGES, min_txid=1),
        (0, 2, 2): ltx_file({9: b"9" * 512}, commit=PAGES, min_txid=2),
        (0, 3, 3): ltx_file({8: b"8" * 512}, commit=PAGES, min_txid=3),
        (9, 1, 2): ltx_file(pages | {9: b"9" * 512}, commit=PAGES, min_txid=1, max_txid=2),
    }
    for (level, low, high), data in files.items():
        place = folder / layout.format(level) / f"{low:016x}-{high:016x}.ltx"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        written = ltx.Header.parse(data[: ltx.HEADER_SIZE]).timestamp.timestamp()
        os.utime(place, (written, written))
    open_to_all(folder)
    return folder


def open_to_all(folder: Path) -> None:
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)


def url_of(server: WebServer, path: str = "app") -> str:
    who = f"{quote(server.user, safe='')}:{quote(server.password, safe='')}@" if server.user else ""
    return f"http://{who}127.0.0.1:{server.port}/{path}"


def restored(source: object, path: Path, **options: object) -> bytes:
    ltxcore.restore(source, path, overwrite=True, **options)  # type: ignore[arg-type]
    return path.read_bytes()
