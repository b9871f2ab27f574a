"""What a configuration file may not say, although every value has the right type."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ltxcore._config_text import Duration
from ltxcore.errors import ConfigError

if TYPE_CHECKING:
    from ltxcore.config import AgeConfig, Config, DBConfig, ReplicaConfig

MAX_LEVELS = 8
LEVEL_NAMES = {"trace", "debug", "info", "warn", "warning", "error"}


def check(config: Config) -> None:
    """Raise on the first setting that cannot work.

    Raises:
        ConfigError: ``key`` names it.
    """
    _check_times(config)
    if len(config.levels) > MAX_LEVELS:
        raise _fault("levels", "there are at most 8 compaction levels", len(config.levels))
    for number, level in enumerate(config.levels):
        _positive(f"levels[{number}].interval", level.interval)
    if config.logging.level.lower() not in LEVEL_NAMES:
        raise _fault("logging.level", "not a level of the log", config.logging.level)
    for number, db in enumerate(config.dbs):
        _check_db(f"dbs[{number}]", db)
    _check_snapshots(config)
    _check_age("age", config.age)


def _check_times(config: Config) -> None:
    _positive("sync-interval", config.sync_interval)
    _positive("snapshot.interval", config.snapshot.interval)
    _positive("snapshot.retention", config.snapshot.retention)
    _positive("validation.interval", config.validation.interval, or_zero=True)
    _positive("l0-retention", config.l0_retention, or_zero=True)
    _positive("l0-retention-check-interval", config.l0_retention_check_interval)
    _positive("shutdown-sync-timeout", config.shutdown_sync_timeout, or_zero=True)
    _positive("shutdown-sync-interval", config.shutdown_sync_interval)
    if config.heartbeat_url is not None and urlsplit(config.heartbeat_url).scheme not in ("http", "https"):
        raise _fault("heartbeat-url", "must be an http or https URL", config.heartbeat_url)
    if config.heartbeat_interval < 60:
        raise _fault("heartbeat-interval", "must be at least 1m", _shown(config.heartbeat_interval))


def _check_db(key: str, db: DBConfig) -> None:
    if (db.path is None) == (db.dir is None):
        raise _fault(key, "either path or dir must be given", "neither" if db.path is None else "both")
    if db.dir is not None and not db.pattern:
        raise _fault(f"{key}.pattern", "required with dir", "nothing")
    if db.dir is None and (db.watch or db.meta_dir is not None):
        raise _fault(f"{key}.{'watch' if db.watch else 'meta-dir'}", "only with dir", db.path)
    if db.meta_path is not None and db.meta_dir is not None:
        raise _fault(f"{key}.meta-dir", "excludes meta-path", db.meta_dir)
    if db.replica is not None and db.replicas:
        raise _fault(
            f"{key}.replicas", "cannot specify 'replica' and 'replicas' on a database", len(db.replicas)
        )
    if len(db.replicas) > 1:
        raise _fault(f"{key}.replicas", "a database has one replica", len(db.replicas))
    for name in ("monitor_interval", "checkpoint_interval", "busy_timeout"):
        _positive(f"{key}.{name.replace('_', '-')}", getattr(db, name), or_zero=True)
    if db.snapshot is not None:
        _positive(f"{key}.snapshot.interval", db.snapshot.interval)
        _positive(f"{key}.snapshot.retention", db.snapshot.retention)
    if db.replica is not None:
        _check_replica(f"{key}.replica", db.replica)
    for number, replica in enumerate(db.replicas):
        _check_replica(f"{key}.replicas[{number}]", replica)


def _check_replica(key: str, replica: ReplicaConfig) -> None:
    _positive(f"{key}.sync-interval", replica.sync_interval)
    _check_age(f"{key}.age", replica.age)
    if replica.url is not None:
        if "://" not in replica.url:
            raise _fault(f"{key}.url", "a replica URL needs a scheme", replica.url)
        if replica.path is not None:
            raise _fault(f"{key}.path", "cannot specify url and path for a replica", replica.path)


def _check_snapshots(config: Config) -> None:
    """What a database says counts for all where the top of the file says nothing, so all have to agree."""
    for name in ("interval", "retention"):
        if getattr(config.snapshot, name) is not None:
            continue
        given = [
            (number, value)
            for number, db in enumerate(config.dbs)
            if db.snapshot is not None and (value := getattr(db.snapshot, name)) is not None
        ]
        for number, value in given:
            if value != given[0][1]:
                key = f"dbs[{number}].snapshot.{name}"
                raise _fault(
                    key, f"differs from that of another database, {_shown(given[0][1])}", _shown(value)
                )


def _positive(key: str, value: Duration | None, *, or_zero: bool = False) -> None:
    if value is not None and (value < 0 or (not value and not or_zero)):
        text = "must not be negative" if or_zero else "must be greater than 0"
        raise _fault(key, text, _shown(value))


def _shown(value: float) -> str:
    return f"{value:g}s"


def _check_age(key: str, age: AgeConfig | None) -> None:
    if age is not None and (age.identities or age.recipients):
        error = ConfigError(f"{key}: age encryption is not currently supported", op="config")
        error.key = key
        raise error


def _fault(key: str, text: str, value: object) -> ConfigError:
    error = ConfigError(f"{key}: {text} (got {value})", op="config")
    error.key = key
    return error
