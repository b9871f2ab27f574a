"""The steps that docs/web.md shows, while commits go on and files are deleted between them."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ltxcore import Replica

from tests.helpers import documents
from tests.helpers.replicas import Source
from tests.helpers.s3_servers import program
from tests.helpers.web_servers import open_to_all, restored, url_of, with_ranges

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


def steps() -> list[str]:
    """The lines of the block that uploads a replica."""
    (block,) = [
        block.text
        for block in documents.blocks(documents.ROOT / "docs/web.md")
        if "rclone sync /var/backups" in block.text
    ]
    return block.splitlines()


class Publisher:
    """A machine with a replica, which uploads it to the folder of a web server."""

    def __init__(self, folder: Path, served: Path) -> None:
        self.folder, self.served = folder, served
        self.origin = Source(folder)
        self.origin.replica = self.origin.replica.rename(folder / "app")
        self.origin.client = type(self.origin.client)(self.origin.replica)

    def run(self, line: str) -> None:
        line = line.replace("/var/backups", str(self.folder))
        line = re.sub("^ltxcore", f"{sys.executable} -m ltxcore", line)
        line = re.sub("^rclone", f"{program('rclone')} --config {self.folder / 'rclone.conf'}", line)
        remote = {"RCLONE_CONFIG_REMOTE_TYPE": "alias", "RCLONE_CONFIG_REMOTE_REMOTE": str(self.served)}
        subprocess.run(line.split(), cwd=self.folder, env=os.environ | remote, check=True, timeout=60)

    def go_on(self) -> None:
        """A commit, and files that are replaced by one of the next level."""
        files = [file.min_txid for file in Replica(self.origin.replica).files(0)]
        if Replica(self.origin.replica).compact(1) is not None:
            for txid in files:
                (self.origin.replica / f"ltx/0/{txid}-{txid}.ltx").unlink()
        self.origin.move()

    def missing(self) -> list[str]:
        """What the listing on the server names that is not there."""
        listing = self.served / "public/app/ltx.json"
        if not listing.exists():
            return []
        found = json.loads(listing.read_text())
        names = [
            f"{found['folders'][row['level']]}/{row['min_txid']}-{row['max_txid']}.ltx"
            for row in found["files"]
        ]
        assert names
        return [name for name in names if not (listing.parent / name).exists()]


def test_the_files_of_a_published_listing_are_there(tmp_path: Path) -> None:
    """The steps listed the replica after it was copied: a commit between them was in the listing, and not on the server."""
    publisher = Publisher(tmp_path, tmp_path / "served")
    for _ in range(3):
        for line in steps():
            publisher.run(line)
            assert publisher.missing() == [], line
            publisher.go_on()


def test_the_published_replica_is_restored(tmp_path: Path) -> None:
    # Not below a folder that other users may not enter, as nginx runs as one.
    with tempfile.TemporaryDirectory(prefix="ltxcore-web-") as served:
        publisher = Publisher(tmp_path, Path(served))
        publisher.go_on()
        for line in steps():
            publisher.run(line)
        open_to_all(Path(served))
        with with_ranges(Path(served)) as server:
            copy = restored(url_of(server, "public/app"), tmp_path / "copy.db")
    assert copy == restored(publisher.origin.replica, tmp_path / "expected.db")
