"""Two replicators write to one prefix of a bucket, at the same time and in any order: one wins, and the other one ends."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ltxcore.clients.s3 import S3Client

from tests.helpers.proxy import Proxy
from tests.helpers.rivals import BEGINNINGS, Match
from tests.helpers.s3_servers import S3Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

#: In the gate, one of each beginning. The others are slow.
FEW, MANY = len(BEGINNINGS), 50
#: Of answers to uploads that are lost. boto3 makes four attempts.
CHANCE = 0.3


def seeds() -> list[object]:
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed >= FEW else []) for seed in range(MANY)]


@pytest.mark.parametrize("loses", [False, True], ids=["answers arrive", "answers are lost"])
@pytest.mark.parametrize("seed", seeds())
def test_one_wins_and_the_other_ends(
    seaweedfs: S3Server,
    proxied: Callable[..., Proxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    loses: bool,
) -> None:
    # boto3 keeps what it has found, and other tests have others.
    monkeypatch.setattr("ltxcore.clients.s3._connection._Process.session", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    bucket = seaweedfs.make_bucket(f"rivals-{os.getpid()}-{seed}-{loses:d}")
    client = S3Client(bucket, "app", endpoint=seaweedfs.url, region=seaweedfs.region)
    proxy = proxied(seaweedfs.url)
    lose = lambda: proxy.fault("lose", operation="PutObject", times=None, chance=CHANCE, seed=seed)  # noqa: E731
    url = f"s3://{bucket}/app?endpoint={proxy.url}&region={seaweedfs.region}"
    match = Match(tmp_path / "match", url, client, seed, lose if loses else None)
    try:
        winner, loser = match.play()
        match.check(winner, loser)
    finally:
        match.end()
