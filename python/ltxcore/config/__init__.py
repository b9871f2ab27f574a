"""Configuration files, in the format of ``litestream.yml``.

The whole format of Litestream 0.5.17 and 0.5.18 is read and checked, and that of 0.3.13. A key that none of them knows is an
error, so that a mistyped one does not pass unseen. What a file asks for and ltxcore does not have yet is an error only for
those who need it: a replica in Google Cloud, for instance, when that database is restored.

Litestream 0.3 has a list of ``replicas`` for each database. :meth:`Config.client` chooses one by its name. The entries may have
the keys that only Litestream 0.3 has: ``retention``, ``retention-check-interval`` and ``snapshot-interval``; a database
``max-checkpoint-page-count``. They are checked for their type, and nothing uses them.

This module is not imported with the package: it needs a YAML parser and a validator, which most programs do not.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
import yaml

from ltxcore import _ltxcore
from ltxcore._process.units import parse_duration
from ltxcore.config._check import check, check_keys
from ltxcore.config._model import (
    AgeConfig,
    CompactionLevelConfig,
    Config,
    DBConfig,
    ListedReplicaConfig,
    LoggingConfig,
    ReplicaConfig,
    ReplicaSettings,
    RetentionConfig,
    SnapshotConfig,
    SocketConfig,
    ValidationConfig,
)
from ltxcore.config._text import convert_scalar, expand_environment, expand_path, find_line, parse_yaml
from ltxcore.errors import ConfigError

__all__ = [
    "AgeConfig",
    "CompactionLevelConfig",
    "Config",
    "DBConfig",
    "ListedReplicaConfig",
    "LoggingConfig",
    "ReplicaConfig",
    "ReplicaSettings",
    "RetentionConfig",
    "SnapshotConfig",
    "SocketConfig",
    "ValidationConfig",
    "default_path",
    "load",
    "parse",
]


def default_path() -> Path:
    """Where the configuration is if nothing else is said: ``$LITESTREAM_CONFIG``, else ``/etc/litestream.yml``."""
    return Path(os.environ.get("LITESTREAM_CONFIG") or "/etc/litestream.yml")


def load(path: str | os.PathLike[str] | None = None, *, expand_env: bool = True) -> Config:
    """Read and check a configuration file.

    Args:
        path: the file; :func:`default_path`, if left out.
        expand_env: replace ``$NAME`` and ``${NAME}`` by variables of the environment.

    Raises:
        ConfigError: it is missing, has a key that Litestream does not know, or something in it cannot work; ``key`` says what,
            ``line`` where. Keys at the top of the file that begin with ``x-`` are free, for YAML anchors.
    """
    file = default_path() if path is None else expand_path(os.fspath(path))
    try:
        # Not by open(): the path may be that of a database, by mistake.
        text = _ltxcore.read_file(file).decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"config file not found: {file}",
            op="config",
            path=str(file),
            hint="check the path; without one it is $LITESTREAM_CONFIG or /etc/litestream.yml",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8: {file}", op="config", path=str(file)) from error
    try:
        return _parse(text, expand_env)
    except ConfigError as error:
        error.path = str(file)
        place = str(file) if error.line is None else f"{file}:{error.line}"
        error.args = (f"{place}: {error}",)
        raise


def parse(text: str, *, expand_env: bool = True) -> Config:
    """The configuration that a text stands for; see :func:`load`."""
    try:
        return _parse(text, expand_env)
    except ConfigError as error:
        if error.line is not None:
            error.args = (f"line {error.line}: {error}",)
        raise


def _parse(text: str, expand_env: bool) -> Config:
    try:
        values = parse_yaml(expand_environment(text) if expand_env else text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", op="config") from error
    except RecursionError:
        raise ConfigError("not read: lists or mappings are nested too deeply", op="config") from None
    try:
        check_keys(values)
        _tolerate_shutdown_timeout(values)
        config = _convert(values)
        check(config)
    except ConfigError as error:
        if error.key is not None:
            error.line = find_line(values, error.key)
        raise
    return config


def _convert(values: object) -> Config:
    try:
        return msgspec.convert(
            {} if values is None else values, Config, strict=False, dec_hook=convert_scalar
        )
    except msgspec.ValidationError as error:
        raise _named(str(error)) from error


def _tolerate_shutdown_timeout(values: object) -> None:
    """Litestream 0.5.18 takes its default for a ``shutdown-timeout`` that it cannot read, with a warning."""
    if not isinstance(values, dict) or "shutdown-timeout" not in values:
        return
    given = values["shutdown-timeout"]
    try:
        is_fine = parse_duration(given) > 0
    except (TypeError, ValueError):
        is_fine = False
    if not is_fine:
        del values["shutdown-timeout"]
        logging.getLogger("ltxcore").warning("invalid shutdown-timeout, using 30s: %s", given)


def _named(message: str) -> ConfigError:
    """The validator's message with the key in front of it."""
    what, _, place = message.partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    error = ConfigError(f"{key or 'the file'}: {what[:1].lower()}{what[1:]}", op="config")
    error.key = key or None
    return error
