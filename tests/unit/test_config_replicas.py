"""config: one of several replicas of a database, by its name."""

import pytest

from ltxcore import config, errors

SEVERAL = """
access-key-id: a
secret-access-key: b
region: eu-central-1
dbs:
  - path: /a
    replicas:
      - path: /r
      - {url: "S3://bucket/x", retention: 72h}
      - {name: far, type: s3, bucket: far, path: y, region: us-west-2}
      - {name: sealed, path: /e, age: {identities: [x]}}
      - {name: elsewhere, type: gcs, bucket: b}
  - path: /same
    replicas: [{path: /r}, {path: /s}, {name: t, path: /t}]
  - path: /one
    replica: {path: /r}
"""


@pytest.mark.parametrize(
    ("path", "name", "shown", "region"),
    [
        ("/a", "file", "FileClient('/r')", "eu-central-1"),
        ("/a", "s3", "S3Client('s3://bucket/x')", "eu-central-1"),
        ("/a", "far", "S3Client('s3://far/y')", "us-west-2"),
        ("/same", "t", "FileClient('/t')", "eu-central-1"),
        ("/one", "file", "FileClient('/r')", "eu-central-1"),
        ("/one", None, "FileClient('/r')", "eu-central-1"),
    ],
)
def test_one_of_several_replicas(path: str, name: str | None, shown: str, region: str) -> None:
    """By its name, else its type, as for Litestream 0.3. What is at the top of the file counts for each."""
    found = config.parse(SEVERAL)
    db = found.find(path)
    assert repr(found.client(db, name)) == shown
    assert found.replica(db, name).region == region


@pytest.mark.parametrize(
    ("path", "name", "message", "hint"),
    [
        ("/a", None, "/a has 5 replicas: file, s3, far, sealed, elsewhere", "give the name of one"),
        ("/a", "abs", "/a has no replica named abs", "the database has: file, s3, far, sealed, elsewhere"),
        (
            "/same",
            "file",
            "/same has 2 replicas named file",
            "give each of them a name in the configuration file",
        ),
        ("/one", "s3", "/one has no replica named s3", "the database has: file"),
    ],
)
def test_no_one_of_several_replicas(path: str, name: str | None, message: str, hint: str) -> None:
    found = config.parse(SEVERAL)
    with pytest.raises(errors.ConfigError) as caught:
        found.client(found.find(path), name)
    assert (str(caught.value), caught.value.hint, caught.value.key) == (message, hint, "name")


def test_a_replica_that_cannot_be_read_hides_no_other() -> None:
    found = config.parse(SEVERAL)
    db = found.find("/a")
    expected = {
        "sealed": ("age", "replica sealed of /a: age encryption"),
        "elsewhere": ("type", "no replica client of the type 'gcs'"),
    }
    for name, (key, text) in expected.items():
        with pytest.raises(errors.ConfigError, match=text) as caught:
            found.client(db, name)
        assert caught.value.key == key
