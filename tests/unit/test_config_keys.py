"""config: which keys there are, what is said of others, and where."""

from pathlib import Path

import msgspec
import pytest

from ltxcore import config, errors

UNKNOWN = {
    "dbs:\n  - path: /a.db\n    replica:\n      ulr: file:///r\n": (
        "dbs[0].replica.ulr",
        4,
        "did you mean url?",
    ),
    "dbs:\n  - path: /a.db\n    monitor-intervall: 1s\n": (
        "dbs[0].monitor-intervall",
        3,
        "did you mean monitor-interval?",
    ),
    "\ndatabase:\n  - path: /a.db\n": ("database", 2, "did you mean dbs?"),
    "dbs: [{path: /a, replica: {path: /r,\n retention: 72h}}]": (
        "dbs[0].replica.retention",
        2,
        "retention is a key of the top of the file, snapshot and dbs[].snapshot",
    ),
    "dbs: [{path: /a, replica: {path: /r, snapshot-interval: 1h}}]": (
        "dbs[0].replica.snapshot-interval",
        1,
        "snapshot-interval is a key of dbs[].replicas[]",
    ),
    "dbs: [{path: /a, replicas: [{path: /r, identities: [x]}]}]": (
        "dbs[0].replicas[0].identities",
        1,
        "identities is a key of age and dbs[].replica.age",
    ),
    "dbs: [{path: /a, replicas: [{path: /r, pth: /r}]}]": ("dbs[0].replicas[0].pth", 1, "did you mean path?"),
    "levels:\n- interval: 1s\n- intervals: 1s\n": ("levels[1].intervals", 3, "did you mean interval?"),
    "socket:\n  path: /s\n  enable: yes\n": ("socket.enable", 3, "did you mean enabled?"),
    "logging: {levels: info}": ("logging.levels", 1, "levels is a key of the top of the file"),
    "snapshot:\n  intervall:\n": ("snapshot.intervall", 2, "did you mean interval?"),
    "age: {qqqq: [1]}": ("age.qqqq", 1, None),
    "validation: {x-y: 1}": ("validation.x-y", 1, None),
    "zzzzzzzz: 1": ("zzzzzzzz", 1, None),
    "yes: 1": ("yes", 1, None),
    # A wrong key is named before what it leads to.
    "dbs:\n  - pth: /a.db\n": ("dbs[0].pth", 2, "did you mean path?"),
    "x-all: &all\n  ulr: file:///r\ndbs:\n- path: /a\n  replica:\n    <<: *all\n": (
        "dbs[0].replica.ulr",
        2,
        "did you mean url?",
    ),
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_a_key_that_nobody_knows_is_named_with_its_line_and_the_one_that_is_meant(
    text: str, tmp_path: Path
) -> None:
    """They were dropped in silence, and with them a retention or a whole replica."""
    key, line, hint = UNKNOWN[text]
    with pytest.raises(errors.ConfigError) as caught:
        config.parse(text)
    error = caught.value
    assert (str(error), error.key, error.line) == (f"line {line}: {key}: unknown key", key, line)
    assert error.hint == hint
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path}:{line}: {key}: unknown key"


def test_anchors_have_a_place_and_merge(tmp_path: Path) -> None:
    text = (
        "x-common: &common {sync-interval: 2s, path: /r}\ndbs: [{path: /a, replica: {<<: *common, path: /s}}]"
    )
    found = config.parse(text)
    assert found.dbs[0].replica is not None
    assert (found.dbs[0].replica.sync_interval, found.dbs[0].replica.path) == (2, "/s")


def _words(text: str) -> list[str]:
    return text.split()


# The keys of the configuration of Litestream 0.5.17; and those that 0.5.18 added, and those that only 0.3.13 had.
REPLICA_KEYS = _words("""
    sync-interval validation-interval max-sync-ltx-files auto-recover access-key-id secret-access-key region bucket
    endpoint force-path-style sign-payload sign-accept-encoding require-content-md5 skip-verify storage-class part-size
    concurrency sse-customer-algorithm sse-customer-key sse-customer-key-path sse-kms-key-id account-name account-key
    sas-token host user password key-path concurrent-writes host-key webdav-url webdav-username webdav-password jwt seed
    creds nkey username token tls root-cas client-cert client-key max-reconnects reconnect-wait timeout age
    put-object-content-md5
""")
#: Keys that Litestream does not have: of replicas or of all of them, and of one replica.
REPLICA_KEYS += ["max-requests-per-hour"]
OURS = ["lease", "layout"]
#: Keys of an entry of `replicas` that only Litestream 0.3 had.
LISTED_KEYS = _words("retention retention-check-interval snapshot-interval")
TOP_KEYS = _words("""
    addr socket levels snapshot validation l0-retention l0-retention-check-interval verify-compaction retention
    heartbeat-url heartbeat-interval dbs exec logging mcp-addr shutdown-sync-timeout shutdown-sync-interval
    shutdown-timeout
""")
DB_KEYS = _words("""
    path dir pattern recursive watch snapshot meta-path meta-dir monitor-interval checkpoint-interval busy-timeout
    min-checkpoint-page-count max-checkpoint-page-count truncate-page-n max-sync-wal-bytes restore-if-db-not-exists
    replica replicas
""")
SECTIONS = {
    "": TOP_KEYS + REPLICA_KEYS,
    "dbs[0]": DB_KEYS,
    "dbs[0].replica": [*REPLICA_KEYS, "type", "name", "path", "url", *OURS],
    "dbs[0].replicas[0]": [*REPLICA_KEYS, "type", "name", "path", "url", *OURS, *LISTED_KEYS],
    "dbs[0].snapshot": ["interval", "retention"],
    "snapshot": ["interval", "retention"],
    "levels[0]": ["interval"],
    "validation": ["interval"],
    "retention": ["enabled"],
    "socket": ["enabled", "path", "permissions"],
    "logging": ["level", "type", "stderr", "source"],
    "age": ["identities", "recipients"],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_litestream_is_known(section: str) -> None:
    """One of them is no error, and none is known that Litestream would drop, but for a few of our own."""
    text = ", ".join(f"{key}: null" for key in SECTIONS[section])
    for name in reversed(section.split(".") if section else []):
        text = f"{name.removesuffix('[0]')}: " + (f"[{{{text}}}]" if name.endswith("[0]") else f"{{{text}}}")
    try:
        config.parse(f"{{{text}}}")
    except errors.ConfigError as error:
        assert "unknown key" not in str(error)
    kinds: list[type] = [config.AgeConfig, config.CompactionLevelConfig, config.Config, config.DBConfig]
    kinds += [config.LoggingConfig, config.ReplicaConfig, config.RetentionConfig, config.SnapshotConfig]
    kinds += [config.SocketConfig, config.ValidationConfig, config.ListedReplicaConfig]
    known = [{field.encode_name for field in msgspec.structs.fields(kind)} for kind in kinds]
    assert set(SECTIONS[section]) in known


@pytest.mark.parametrize("given", ["60", "0s", "-1s", "soon", "[1]", "yes", "0"])
def test_a_shutdown_timeout_that_cannot_be_read_is_a_warning(
    given: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As in Litestream 0.5.18, which added the key."""
    assert config.parse(f"shutdown-timeout: {given}").shutdown_timeout == 30
    assert "invalid shutdown-timeout, using 30s" in caplog.text
    caplog.clear()
    assert config.parse("shutdown-timeout: 90s").shutdown_timeout == 90
    assert caplog.text == ""


def test_a_new_setting_of_s3_is_handed_on() -> None:
    found = config.parse("put-object-content-md5: true\ndbs: [{path: /a, replica: {url: 's3://b'}}]")
    assert found.replica(found.dbs[0]).settings() == {"put_object_content_md5": True}


# Every key that Litestream 0.3.13 knows, but for `url`.
OF_0_3 = """
addr: ":9090"
exec: "server --port 80"
access-key-id: KEY
secret-access-key: SECRET
logging: {level: info, type: text, stderr: true}
dbs:
  - path: /srv/app.db
    meta-path: /srv/.app.db-litestream
    monitor-interval: 1s
    checkpoint-interval: 1m
    min-checkpoint-page-count: 1000
    max-checkpoint-page-count: 10000
    replicas:
      - type: s3
        name: main
        bucket: backups
        path: app
        endpoint: https://minio.local:9000
        region: eu-central-1
        access-key-id: OTHER
        secret-access-key: SECRET
        force-path-style: true
        skip-verify: true
        retention: 72h
        retention-check-interval: 1h
        sync-interval: 10s
        snapshot-interval: 24h
        validation-interval: 6h
      - {name: far, type: sftp, host: h, user: u, password: p, key-path: /k, path: /p, retention: 0s}
      - {type: abs, account-name: a, account-key: b, bucket: c, path: d, snapshot-interval: -1s}
      - {path: /r, age: {identities: [], recipients: []}}
"""


def test_a_file_of_litestream_0_3() -> None:
    (db,) = config.parse(OF_0_3).dbs
    assert (db.min_checkpoint_page_count, db.max_checkpoint_page_count) == (1000, 10_000)
    first, *others = db.replicas
    assert (first.name, first.bucket, first.sync_interval, first.validation_interval) == (
        "main",
        "backups",
        10,
        21_600,
    )
    assert (first.retention, first.retention_check_interval, first.snapshot_interval) == (
        259_200,
        3600,
        86_400,
    )
    # Nothing uses them, so every duration is one, as for Litestream 0.3.
    assert [each.retention for each in others] == [0, None, None]
    assert [each.snapshot_interval for each in others] == [None, -1, None]


@pytest.mark.parametrize("key", LISTED_KEYS)
def test_the_times_of_litestream_0_3_are_durations(key: str) -> None:
    with pytest.raises(errors.ConfigError, match="not a duration") as caught:
        config.parse(f"dbs: [{{path: /a, replicas: [{{path: /r, {key}: soon}}]}}]")
    assert (caught.value.key, caught.value.line) == (f"dbs[0].replicas[0].{key}", 1)


def test_they_are_not_for_the_client() -> None:
    """Nor is the number of pages one of the other limits."""
    found = config.parse("dbs: [{path: /a, replicas: [{path: /r, retention: 1h, snapshot-interval: 1h}]}]")
    assert found.replica(found.dbs[0]).settings() == {}
    with pytest.raises(errors.ConfigError, match="expected `int") as caught:
        config.parse("dbs: [{path: /a, max-checkpoint-page-count: many}]")
    assert caught.value.key == "dbs[0].max-checkpoint-page-count"
