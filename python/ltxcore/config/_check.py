"""What a configuration file may not say: unknown keys, and values of the right type that cannot work."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from ltxcore.config._model import Config
from ltxcore.config._text import Mapping
from ltxcore.errors import ConfigError
from ltxcore.ltx import SNAPSHOT_LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltxcore.config._model import DBConfig, ReplicaConfig
    from ltxcore.config._text import Duration

#: Level 0 is not compacted into, nor is that of the snapshots.
MAX_LEVELS = SNAPSHOT_LEVEL - 1
LEVEL_NAMES = {"trace", "debug", "info", "warn", "warning", "error"}


#: Keys at the top of a file that begin so are for YAML anchors and mean nothing.
FREE = "x-"
#: The smallest limit of requests, as a Replica has it.
LEAST_REQUESTS = 10
#: How much a key has to resemble a known one to be taken for a mistyped one.
LIKENESS = 0.52


def check_keys(document: object) -> None:
    """Raise on the first key that the format does not have.

    Raises:
        ConfigError: ``key`` names it; the hint says which key is meant, or where this one belongs.
    """
    for place, value, section in _sections(document, Config, ""):
        known = [field.encode_name for field in msgspec.structs.fields(section)]
        for name in value.lines:
            if name not in (*known, "<<") and (place or not name.startswith(FREE)):
                key = f"{place}.{name}".lstrip(".")
                error = ConfigError(f"{key}: unknown key", op="config", hint=_meant(name, known))
                error.key = key
                raise error


def _meant(name: str, known: list[str]) -> str | None:
    """Where a key belongs that another section has; otherwise which known key it resembles most."""
    holders = [
        place or "the top of the file"
        for place, section in _places(Config, "")
        if name in (field.encode_name for field in msgspec.structs.fields(section))
    ]
    # A replica is written below `replica`; only keys of Litestream 0.3 are nowhere else than below `replicas`.
    places = [each for each in holders if "replicas[]" not in each] or holders
    if places:
        return f"{name} is a key of {', '.join(places[:-1])}{' and ' * (len(places) > 1)}{places[-1]}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=LIKENESS)
    return f"did you mean {near[0]}?" if near else None


def _sections(
    value: object, section: type[msgspec.Struct], place: str
) -> Iterator[tuple[str, Mapping, type[msgspec.Struct]]]:
    """Every mapping of a document that stands for a section, with its place."""
    if not isinstance(value, Mapping):
        return  # the validator says so
    yield place, value, section
    for name, inner, _ in _inner(section):
        below, held = f"{place}.{name}".lstrip("."), value.get(name)
        if isinstance(held, list):
            for number, each in enumerate(held):
                yield from _sections(each, inner, f"{below}[{number}]")
        else:
            yield from _sections(held, inner, below)


def _places(section: type[msgspec.Struct], place: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every section of the format, with its place."""
    yield place, section
    for name, inner, is_list in _inner(section):
        yield from _places(inner, f"{place}.{name}".lstrip(".") + "[]" * is_list)


def _inner(section: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct], bool]]:
    """The keys of a section that hold sections, and whether they hold a list of them."""
    for field in msgspec.structs.fields(section):
        for kind in (field.type, *get_args(field.type)):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield field.encode_name, kind, get_origin(field.type) is list


def check(config: Config) -> None:
    """Raise on the first setting that cannot work.

    Raises:
        ConfigError: ``key`` names it.
    """
    _check_times(config)
    if len(config.levels) > MAX_LEVELS:
        raise _fault("levels", f"there are at most {MAX_LEVELS} compaction levels", len(config.levels))
    for number, level in enumerate(config.levels):
        _positive(f"levels[{number}].interval", level.interval)
    if config.logging.level.lower() not in LEVEL_NAMES:
        raise _fault("logging.level", "not a level of the log", config.logging.level)
    for number, db in enumerate(config.dbs):
        _check_db(f"dbs[{number}]", db)
    _check_snapshots(config)
    _check_age(config)


def _check_times(config: Config) -> None:
    _check_limit("max-requests-per-hour", config.max_requests_per_hour)
    _positive("sync-interval", config.sync_interval)
    _positive("snapshot.interval", config.snapshot.interval)
    _positive("snapshot.retention", config.snapshot.retention)
    _positive("validation.interval", config.validation.interval, or_zero=True)
    _positive("l0-retention", config.l0_retention, or_zero=True)
    _positive("l0-retention-check-interval", config.l0_retention_check_interval)
    _positive("shutdown-timeout", config.shutdown_timeout)
    _positive("shutdown-sync-timeout", config.shutdown_sync_timeout, or_zero=True)
    _positive("shutdown-sync-interval", config.shutdown_sync_interval)
    if config.heartbeat_url is not None and urlsplit(config.heartbeat_url).scheme not in ("http", "https"):
        raise _fault("heartbeat-url", "must be an http or https URL", config.heartbeat_url)
    if config.heartbeat_interval < 60:
        raise _fault("heartbeat-interval", "must be at least 1m", _shown(config.heartbeat_interval))


def _check_db(key: str, db: DBConfig) -> None:
    # One that is empty would mean the current directory: a variable that stands there is not set.
    if bool(db.path) == bool(db.dir):
        raise _fault(key, "either path or dir must be given", "both" if db.path else "neither")
    if db.dir and not db.pattern:
        raise _fault(f"{key}.pattern", "required with dir", "nothing")
    if not db.dir and (db.watch or db.meta_dir is not None):
        raise _fault(f"{key}.{'watch' if db.watch else 'meta-dir'}", "only with dir", db.path)
    if db.meta_path is not None and db.meta_dir is not None:
        raise _fault(f"{key}.meta-dir", "excludes meta-path", db.meta_dir)
    if db.replica is not None and db.replicas:
        raise _fault(
            f"{key}.replicas", "cannot specify 'replica' and 'replicas' on a database", len(db.replicas)
        )
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
    _check_limit(f"{key}.max-requests-per-hour", replica.max_requests_per_hour)
    if replica.layout == "v0.3" and replica.lease:
        raise _fault(f"{key}.lease", "not with layout v0.3, which has no lease", "true")
    if replica.layout == "v0.3" and replica.max_requests_per_hour is not None:
        raise _fault(f"{key}.max-requests-per-hour", "not with layout v0.3", replica.max_requests_per_hour)
    if replica.url is not None:
        if "://" not in replica.url:
            raise _fault(f"{key}.url", "a replica URL needs a scheme", replica.url)
        if replica.path is not None and replica.url.partition("://")[0].lower() == "file":
            raise _fault(f"{key}.path", "cannot specify url and path for a file replica", replica.path)


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


def _check_limit(key: str, value: int | None) -> None:
    if value is not None and value < LEAST_REQUESTS:
        raise _fault(key, f"must be at least {LEAST_REQUESTS}", value)


def _shown(value: float) -> str:
    return f"{value:g}s"


def _check_age(config: Config) -> None:
    """That of one replica is an error when this replica is needed: the others can be read."""
    if config.age is not None and config.age.is_used:
        error = ConfigError("age: age encryption is not currently supported", op="config")
        error.key = "age"
        raise error


def _fault(key: str, text: str, value: object) -> ConfigError:
    error = ConfigError(f"{key}: {text} (got {value})", op="config")
    error.key = key
    return error
