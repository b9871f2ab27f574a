"""What an update moves over the link to a real S3 server, before and after files were merged, as a proxy counts it."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import ltxcore
from ltxcore import DB, RestoreResult
from ltxcore.clients.s3 import S3Client

from tests.helpers.app import App
from tests.helpers.proxy import Proxy
from tests.helpers.s3_servers import S3Server

#: About one row fits into a page, and no byte can be saved by compression.
ROWS, ROW = 6000, 3500
#: What an update may move of what the first restore moved.
MOST = 0.03

_numbers = itertools.count()


def test_one_percent_that_changed_moves_little(
    seaweedfs: S3Server, proxied: Callable[..., Proxy], tmp_path: Path
) -> None:
    bucket = seaweedfs.make_bucket(f"update-{os.getpid()}-{next(_numbers)}")

    def client_at(url: str) -> S3Client:
        return S3Client(
            bucket,
            "app",
            endpoint=url,
            region=seaweedfs.region,
            access_key_id=seaweedfs.access_key,
            secret_access_key=seaweedfs.secret_key,
        )

    proxy = proxied(seaweedfs.url)
    client, measured, copy = client_at(seaweedfs.url), client_at(proxy.url), tmp_path / "copy.db"
    app = App(tmp_path / "app.db")
    app.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO entry (body) SELECT randomblob(?) FROM n",
        ROWS,
        ROW,
    )

    def change(db: DB) -> None:
        """1 % of the rows, in three transactions."""
        for _ in range(3):
            part = next(_numbers) * 7 % 300
            app.execute("UPDATE entry SET body = randomblob(?) WHERE id % 300 = ?", ROW, part)
            db.wait(timeout=60)

    def moved() -> tuple[int, RestoreResult]:
        proxy.forget()
        result = ltxcore.restore(measured, copy, update=True)
        ltxcore.restore(client, tmp_path / "whole.db", overwrite=True)
        assert copy.read_bytes() == (tmp_path / "whole.db").read_bytes()
        traffic = proxy.traffic()
        return traffic.sent + traffic.received, result

    with DB(app.path, replica=client) as db:
        db.wait(timeout=120)
        db.compact(1)
        app.insert(1)
        db.wait(timeout=60)
        first, result = moved()
        assert first > ROWS * ROW and not result.updated
        change(db)
        second, result = moved()
        assert result.updated and 0 < second <= MOST * first
        for _ in range(2):
            change(db)
            db.compact(1)
            files = sorted(client.ltx_files(0), key=lambda file: file.max_txid)
            client.delete_ltx_files(files[:-1])
            merged, result = moved()
            assert result.updated and {file.level for file in result.files} == {1}
            assert 0 < merged <= MOST * first
    app.connection.close()
