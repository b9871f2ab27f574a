"""Configuration files of Litestream 0.3.13: what it reads, we read, and call the replicas by the same names."""

from pathlib import Path

import pytest

from ltxcore import config

from tests.helpers import litestream03
from tests.unit.test_config_keys import OF_0_3

pytestmark = [pytest.mark.interop, pytest.mark.litestream03]

NAMED = """
dbs:
  - path: /a
    replicas:
      - {path: /r}
      - {path: /s, name: "a b"}
      - {path: /t, name: ""}
      - {url: "file:///u", type: s3}
      - {url: "S3://bucket/p"}
      - {type: s3, bucket: b, name: 5}
      - {url: "gcs://b/p"}
      - {url: "sftp://u@h/p"}
      - {type: abs, bucket: b}
  - path: /b
    replicas: []
"""


@pytest.mark.parametrize("text", [OF_0_3, NAMED])
def test_the_names_of_replicas(tmp_path: Path, text: str) -> None:
    path = tmp_path / "litestream.yml"
    path.write_text(text)
    _, *lines = litestream03.call("databases", "-config", str(path)).splitlines()
    named = {db.path: ",".join(each.label for each in db.replicas) for db in config.load(path).dbs}
    assert {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in lines} == named
