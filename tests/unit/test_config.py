"""config: the format of litestream.yml, what it means, and what is refused with the name of the key."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import ltxcore
from ltxcore import config, errors
from ltxcore.config._text import expand_environment, parse_mode

WHOLE = """
addr: ":9090"
access-key-id: 0123
region: eu-central-1
part-size: 5MB
skip-verify: true
socket: {enabled: true, path: /run/x.sock, permissions: 0660}
levels: [{interval: 10s}, {interval: 1h30m}]
snapshot: {interval: 12h, retention: 72h}
validation: {interval: 6h}
l0-retention: 0
l0-retention-check-interval: 250ms
verify-compaction: yes
retention: {enabled: false}
heartbeat-url: https://example.org/beat
heartbeat-interval: 2m
shutdown-sync-timeout: 0s
exec: "server --port 80"
logging: {level: DEBUG, type: json, stderr: true}
mcp-addr: ":3001"
x-something-new: [1, 2]
dbs:
  - path: sqlite:///data/app.db
    monitor-interval: 100ms
    busy-timeout: 5s
    min-checkpoint-page-count: 500
    max-sync-wal-bytes: 1 MiB
    restore-if-db-not-exists: true
    replica:
      url: file:///backups/app
      sync-interval: 1.5s
  - dir: /data/tenants
    pattern: "*.db"
    recursive: true
    watch: true
    meta-dir: /meta
    replicas:
      - {type: s3, bucket: b, path: tenants, region: us-east-1, concurrency: 4}
"""


def test_the_whole_format() -> None:
    found = config.parse(WHOLE)
    assert (found.addr, found.access_key_id, found.part_size) == (":9090", "0123", 5_000_000)
    assert (found.socket.enabled, found.socket.path, found.socket.permissions) == (True, "/run/x.sock", 0o660)
    assert [level.interval for level in found.levels] == [10, 5400]
    assert (found.snapshot.interval, found.snapshot.retention) == (43_200, 259_200)
    assert (found.l0_retention, found.l0_retention_check_interval) == (0, 0.25)
    assert (found.verify_compaction, found.retention.enabled) == (True, False)
    assert (found.shutdown_sync_timeout, found.shutdown_sync_interval) == (0, 0.5)
    assert (found.logging.level, found.logging.type, found.logging.stderr) == ("DEBUG", "json", True)
    app, tenants = found.dbs
    assert (app.monitor_interval, app.busy_timeout, app.checkpoint_interval) == (0.1, 5, 60)
    assert (app.min_checkpoint_page_count, app.truncate_page_n, app.max_sync_wal_bytes) == (
        500,
        121_359,
        1 << 20,
    )
    assert app.replica is not None and app.replica.sync_interval == 1.5
    assert (tenants.dir, tenants.pattern, tenants.recursive, tenants.watch) == (
        "/data/tenants",
        "*.db",
        True,
        True,
    )


def test_defaults() -> None:
    found = config.parse("")
    assert [level.interval for level in found.levels] == [30, 300, 3600]
    assert (found.l0_retention, found.heartbeat_interval, found.dbs) == (300, 300, [])
    assert found.socket.permissions == 0o600
    assert config.parse("levels: []\ndbs:\nexec: ~").levels == []


def test_a_replica_takes_over_what_is_set_at_the_top() -> None:
    found = config.parse(WHOLE)
    replica = found.replica(found.dbs[1])
    assert (replica.access_key_id, replica.region, replica.bucket) == ("0123", "us-east-1", "b")
    assert (replica.part_size, replica.concurrency) == (None, 4)
    text = "skip-verify: true\ndbs: [{path: /a, replica: {url: 's3://b', skip-verify: false}}]"
    found = config.parse(text)
    assert found.replica(found.dbs[0]).skip_verify is True


def test_the_lease_of_a_replica() -> None:
    """It says nothing to the client, and is not for the top of the file."""
    found = config.parse("dbs: [{path: /a, replica: {url: 's3://bucket/a', lease: true}}]")
    replica = found.replica(found.dbs[0])
    assert replica.lease
    assert replica.settings() == {}
    found.client(found.dbs[0])
    without = config.parse("dbs: [{path: /a, replica: {url: 's3://bucket/a'}}]")
    assert not without.replica(without.dbs[0]).lease
    with pytest.raises(errors.ConfigError, match="lease: unknown key"):
        config.parse("lease: true")


def test_the_layout_of_a_replica() -> None:
    """It says nothing to the client. What only LTX replicas have is refused beside it."""
    found = config.parse("dbs: [{path: /a, replica: {url: 's3://bucket/a', layout: v0.3}}]")
    replica = found.replica(found.dbs[0])
    assert replica.layout == "v0.3" and replica.settings() == {}
    without = config.parse("dbs: [{path: /a, replica: {url: 's3://bucket/a'}}]")
    assert without.replica(without.dbs[0]).layout == "ltx"
    with pytest.raises(errors.ConfigError, match="layout"):
        config.parse("dbs: [{path: /a, replica: {url: 's3://bucket/a', layout: v0.4}}]")
    for other in ("lease: true", "max-requests-per-hour: 100"):
        with pytest.raises(errors.ConfigError, match=r"not with layout v0\.3"):
            config.parse(f"dbs: [{{path: /a, replica: {{url: 's3://bucket/a', layout: v0.3, {other}}}}}]")


def test_the_client_of_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    replicas = ["{path: ~/backup}", "{type: file, path: backup}", f"{{url: 'file://{tmp_path}/backup'}}"]
    for each in replicas:
        found = config.parse(f"dbs: [{{path: ~/app.db, replica: {each}}}]")
        client = found.client(found.find("app.db"))
        assert isinstance(client, ltxcore.FileClient)
        assert client.path == tmp_path / "backup"
    found = config.parse("dbs: [{path: /a.db, replicas: [{path: /b}]}]")
    assert repr(found.client(found.find("sqlite:///a.db"))) == "FileClient('/b')"


def test_what_does_not_exist_yet_is_an_error_when_it_is_needed() -> None:
    found = config.parse(
        "dbs: [{path: /a, replica: {type: gs, bucket: b}}, {path: /b}, {path: /c, replica: {}},"
        " {path: /d, replica: {url: 'gs://b/p'}}]"
    )
    expected = {
        "/a": ("type", "no replica client of the type 'gs'"),
        "/b": ("dbs[1].replica", "must specify replica for database"),
        "/c": ("path", "file replica path required"),
        "/d": ("url", "no replica client for the URL scheme 'gs'"),
        "/e": ("dbs", "database not found in config"),
    }
    for path, (key, text) in expected.items():
        with pytest.raises(errors.ConfigError, match=text) as caught:
            found.client(found.find(path))
        assert caught.value.key == key


@pytest.mark.parametrize(
    ("replica", "shown"),
    [
        ("{type: s3, bucket: b, path: a/b}", "S3Client('s3://b/a/b')"),
        ("{url: 's3://b/a?region=us-west-2'}", "S3Client('s3://b/a')"),
        ("{url: 'S3://b/a', path: c, bucket: d}", "S3Client('s3://d/c')"),
        ("{url: 's3://b', endpoint: minio.local}", "S3Client('s3://b', endpoint='http://minio.local')"),
        ("{url: 's3://b', part-size: 10MB, sign-payload: false}", "S3Client('s3://b')"),
    ],
)
def test_the_client_of_a_bucket(replica: str, shown: str) -> None:
    # `host` is for sftp, and taken over by every replica of the file.
    found = config.parse(
        f"access-key-id: a\nsecret-access-key: b\nhost: h\ndbs: [{{path: /a, replica: {replica}}}]"
    )
    assert repr(found.client(found.dbs[0])) == shown


def test_a_bucket_is_required() -> None:
    found = config.parse("dbs: [{path: /a, replica: {type: s3, path: p}}]")
    with pytest.raises(errors.ConfigError, match="names no bucket"):
        found.client(found.dbs[0])


class _Given(ltxcore.FileClient):
    type: ClassVar[str] = "given"


def test_a_client_of_somebody_else_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def from_url(url: str, **options: Any) -> ltxcore.ReplicaClient:
        calls.append((url, options))
        return _Given("/x")

    monkeypatch.setattr("ltxcore.config._model.client_from_url", from_url)
    text = "region: eu\ndbs: [{path: /a, replica: {url: 'given://x', sync-interval: 1s, host-key: k}}]"
    found = config.parse(text)
    found.client(found.dbs[0])
    assert calls == [("given://x", {"region": "eu", "host_key": "k"})]


FAULTS = {
    "levels: 5": ("levels", "expected `array`"),
    "levels: [{interval: 0s}]": ("levels[0].interval", r"must be greater than 0 \(got 0s\)"),
    f"levels: [{', '.join(['{interval: 1s}'] * 9)}]": ("levels", "at most 8"),
    "l0-retention: 10": ("l0-retention", "not a duration"),
    "l0-retention: -1s": ("l0-retention", r"must not be negative \(got -1s\)"),
    "snapshot: {interval: 0s}": ("snapshot.interval", "must be greater than 0"),
    "snapshot: {interval: [1]}": ("snapshot.interval", "expected a text"),
    "sync-interval: 0s": ("sync-interval", "must be greater than 0"),
    "max-requests-per-hour: 9": ("max-requests-per-hour", r"at least 10 \(got 9\)"),
    "dbs: [{path: /a, replica: {path: /r, max-requests-per-hour: 0}}]": (
        "dbs[0].replica.max-requests-per-hour",
        "at least 10",
    ),
    "part-size: 5XB": ("part-size", "not a size"),
    "socket: {permissions: 0x1}": ("socket.permissions", "octal"),
    "logging: {type: xml}": ("logging.type", "nvalid enum value"),
    "logging: {level: loud}": ("logging.level", "not a level"),
    "heartbeat-url: ftp://x": ("heartbeat-url", "http"),
    "heartbeat-interval: 5s": ("heartbeat-interval", "at least 1m"),
    "age: {identities: [x]}": ("age", "age encryption"),
    "dbs: [{}]": ("dbs[0]", "either path or dir"),
    "dbs: [{path: ''}]": ("dbs[0]", r"either path or dir.*\(got neither\)"),
    "dbs: [{path: '', dir: ''}]": ("dbs[0]", r"\(got neither\)"),
    "dbs: [{path: /a, dir: /b}]": ("dbs[0]", r"\(got both\)"),
    "dbs: [{dir: /b}]": ("dbs[0].pattern", "required with dir"),
    "dbs: [{path: /a, watch: true}]": ("dbs[0].watch", "only with dir"),
    "dbs: [{path: /a, meta-dir: /m}]": ("dbs[0].meta-dir", "only with dir"),
    "dbs: [{dir: /a, pattern: x, meta-dir: /m, meta-path: /n}]": ("dbs[0].meta-dir", "excludes"),
    "dbs: [{path: /a, truncate-page-n: many}]": ("dbs[0].truncate-page-n", "expected `int`"),
    "dbs: [{path: /a, busy-timeout: -1s}]": ("dbs[0].busy-timeout", "negative"),
    "dbs: [{path: /a, replica: {path: /r}, replicas: [{path: /s}]}]": ("dbs[0].replicas", "cannot specify"),
    "dbs: [{path: /a, replica: {path: /r, url: 'file:///s'}}]": ("dbs[0].replica.path", "url and path"),
    "dbs: [{path: /a, replica: {url: /s}}]": ("dbs[0].replica.url", "scheme"),
    "dbs: [{path: /a, snapshot: {interval: 1h}}, {path: /b, snapshot: {interval: 2h}}]": (
        "dbs[1].snapshot.interval",
        "differs",
    ),
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults_name_their_key(text: str) -> None:
    key, message = FAULTS[text]
    with pytest.raises(errors.ConfigError, match=message) as caught:
        config.parse(text)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"line 1: {key}")


def test_what_is_nested_too_deeply_is_not_read() -> None:
    for text in (f"x-a: {'[' * 5000}{']' * 5000}", f"x-a: {'{a: ' * 5000}1{'}' * 5000}"):
        with pytest.raises(errors.ConfigError, match="nested too deeply"):
            config.parse(text)


@pytest.mark.parametrize(
    "text", ["a: [", "a: 1\na: 2", "dbs: [{path: /a, path: /b}]", "!!python/name:os.system x"]
)
def test_what_is_no_yaml(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="not YAML"):
        config.parse(text)
    with pytest.raises(errors.ConfigError, match="expected `object`"):
        config.parse("- a list")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"A": "1", "LONG_NAME2": "two"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MISSING", raising=False)
    return None


@pytest.mark.usefixtures("variables")
@pytest.mark.parametrize(
    "text, expected",
    [
        ("$A ${A}x $LONG_NAME2-y", "1 1x two-y"),
        ("[$MISSING${MISSING}]", "[]"),
        ("$PID", str(os.getpid())),
        ("a $ b $", "a $ b $"),
        ("$$A $1A $*", "A A "),
        ("${} ${A", " A"),
        ("$.x", "$.x"),
    ],
)
def test_the_environment(text: str, expected: str) -> None:
    assert expand_environment(text) == expected


@pytest.mark.usefixtures("variables")
def test_the_environment_is_left_alone_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yml"
    path.write_text("exec: $A $$")
    assert config.load(path).exec == "1"
    assert config.load(path, expand_env=False).exec == "$A $$"
    monkeypatch.setenv("LITESTREAM_CONFIG", str(path))
    assert config.default_path() == path
    assert config.load().exec == "1"
    monkeypatch.delenv("LITESTREAM_CONFIG")
    assert config.default_path() == Path("/etc/litestream.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="config file not found"):
        config.load(tmp_path / "none.yml")
    path = tmp_path / "x.yml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(errors.ConfigError, match="not UTF-8"):
        config.load(path)
    path.write_text("levels: 5")
    with pytest.raises(errors.ConfigError, match=r"x\.yml:1: levels: ") as caught:
        config.load(path)
    assert (caught.value.key, caught.value.path) == ("levels", str(path))


def test_scalars() -> None:
    assert (parse_mode("0600"), parse_mode("0o644")) == (0o600, 0o644)
    with pytest.raises(ValueError, match="octal digits, such as 0600: 9"):
        parse_mode("9")
    # As everywhere else; test_units has the rest.
    found = config.parse("part-size: 1.5M\nl0-retention: 7d")
    assert (found.part_size, found.l0_retention) == (1_500_000, 604_800)


def test_an_empty_path_of_a_replica_is_none() -> None:
    """As for Litestream. It was the current directory."""
    loaded = config.parse("dbs: [{path: /a, replica: {path: ''}}]")
    with pytest.raises(errors.ConfigError, match="file replica path required"):
        loaded.client(loaded.dbs[0])
