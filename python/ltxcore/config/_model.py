"""What a configuration file says: its sections as classes."""

from __future__ import annotations

import os
from typing import Any, Literal

import msgspec

from ltxcore.clients import ReplicaClient, client_from_url
from ltxcore.clients.file import FileClient
from ltxcore.config._text import Duration, Mode, Size, expand_path
from ltxcore.errors import ConfigError

#: Settings that a replica does not take over from the top of the file.
NOT_INHERITED = {"part_size", "concurrency", "host_key", "webdav_url", "webdav_username", "webdav_password"}
#: Settings of the uploads, not of the client.
COMMON = {
    "sync_interval",
    "validation_interval",
    "max_sync_ltx_files",
    "auto_recover",
    "age",
    "max_requests_per_hour",
}


class _Section(msgspec.Struct, kw_only=True, rename="kebab"):
    """A mapping of the file. Its keys are those of Litestream 0.5.17 and 0.5.18, and those that a docstring names."""


class AgeConfig(_Section):
    """Encryption, which neither Litestream 0.5 nor ltxcore has. Litestream 0.3 has it."""

    identities: list[str] = []
    recipients: list[str] = []

    @property
    def is_used(self) -> bool:
        """Whether encryption is asked for."""
        return bool(self.identities or self.recipients)


class ReplicaSettings(_Section):
    """What may be set for one replica, or at the top of the file for all of them."""

    sync_interval: Duration | None = None
    validation_interval: Duration | None = None
    max_sync_ltx_files: int | None = None
    auto_recover: bool | None = None
    age: AgeConfig | None = None
    max_requests_per_hour: int | None = None
    # s3 and oss
    access_key_id: str | None = None
    secret_access_key: str | None = None
    region: str | None = None
    bucket: str | None = None
    endpoint: str | None = None
    force_path_style: bool | None = None
    sign_payload: bool | None = None
    require_content_md5: bool | None = msgspec.field(default=None, name="require-content-md5")
    put_object_content_md5: bool | None = msgspec.field(default=None, name="put-object-content-md5")
    skip_verify: bool | None = None
    storage_class: str | None = None
    sign_accept_encoding: bool | None = None
    part_size: Size | None = None
    concurrency: int | None = None
    sse_customer_algorithm: str | None = None
    sse_customer_key: str | None = None
    sse_customer_key_path: str | None = None
    sse_kms_key_id: str | None = None
    # abs
    account_name: str | None = None
    account_key: str | None = None
    sas_token: str | None = None
    # sftp
    host: str | None = None
    user: str | None = None
    password: str | None = None
    key_path: str | None = None
    concurrent_writes: bool | None = None
    host_key: str | None = None
    # webdav
    webdav_url: str | None = None
    webdav_username: str | None = None
    webdav_password: str | None = None
    # nats
    jwt: str | None = None
    seed: str | None = None
    creds: str | None = None
    nkey: str | None = None
    username: str | None = None
    token: str | None = None
    tls: bool | None = None
    root_cas: list[str] | None = None
    client_cert: str | None = None
    client_key: str | None = None
    max_reconnects: int | None = None
    reconnect_wait: Duration | None = None
    timeout: Duration | None = None


class ReplicaConfig(ReplicaSettings):
    """One replica of one database.

    Keys of ltxcore alone: ``lease``, to write only while this process holds the lease of the replica; and ``layout``, that of
    the files which are written: ``ltx``, or ``v0.3`` for readers of Litestream 0.3.
    """

    type: str | None = None
    name: str | None = None
    path: str | None = None
    url: str | None = None
    lease: bool = False
    layout: Literal["ltx", "v0.3"] = "ltx"

    @property
    def kind(self) -> str:
        """The kind of the client: the scheme of the URL, else the type, else ``file``."""
        return (self.url or "").partition("://")[0].lower() or self.type or "file"

    @property
    def label(self) -> str:
        """What the replica is called: its name, else its kind, as Litestream 0.3 has it."""
        return self.name or self.kind

    def settings(self) -> dict[str, Any]:
        """What is set for the client alone, by name."""
        names = set(ReplicaSettings.__struct_fields__) - COMMON
        return {name: value for name in sorted(names) if (value := getattr(self, name)) is not None}


class ListedReplicaConfig(ReplicaConfig):
    """An entry of ``replicas``, which may be from a file of Litestream 0.3.

    Keys of Litestream 0.3, read and not used: ``retention``, ``retention-check-interval`` and ``snapshot-interval``.
    """

    retention: Duration | None = None
    retention_check_interval: Duration | None = None
    snapshot_interval: Duration | None = None


class SnapshotConfig(_Section):
    """When snapshots are made, and how long they are kept."""

    interval: Duration | None = None
    retention: Duration | None = None


class CompactionLevelConfig(_Section):
    """How often files are merged into one level; the first entry is level 1."""

    interval: Duration = Duration(0)


class SocketConfig(_Section):
    """The control socket."""

    enabled: bool = False
    path: str = "/var/run/litestream.sock"
    permissions: Mode = Mode(0o600)


class ValidationConfig(_Section):
    """How often replicas are checked; 0 for never."""

    interval: Duration = Duration(0)


class RetentionConfig(_Section):
    """Whether old files are deleted at all."""

    enabled: bool = True


class LoggingConfig(_Section):
    """What is logged, where, and in which form."""

    level: str = "info"
    type: Literal["text", "json", "pretty"] = "text"
    stderr: bool = False
    source: bool = False


class DBConfig(_Section):
    """One database, or a directory of them.

    A key of Litestream 0.3, read and not used: ``max-checkpoint-page-count``.
    """

    path: str | None = None
    dir: str | None = None
    pattern: str | None = None
    recursive: bool = False
    watch: bool = False
    meta_path: str | None = None
    meta_dir: str | None = None
    snapshot: SnapshotConfig | None = None
    monitor_interval: Duration = Duration(1)
    checkpoint_interval: Duration = Duration(60)
    busy_timeout: Duration = Duration(1)
    min_checkpoint_page_count: int = 1000
    max_checkpoint_page_count: int | None = None
    truncate_page_n: int = 121_359
    max_sync_wal_bytes: Size = Size(64 << 20)
    restore_if_db_not_exists: bool = False
    replica: ReplicaConfig | None = None
    replicas: list[ListedReplicaConfig] = []


class Config(ReplicaSettings):
    """A whole file; the settings of replicas at its top are the defaults for each replica."""

    addr: str | None = None
    socket: SocketConfig = msgspec.field(default_factory=SocketConfig)
    levels: list[CompactionLevelConfig] = msgspec.field(
        default_factory=lambda: [CompactionLevelConfig(interval=Duration(each)) for each in (30, 300, 3600)]
    )
    snapshot: SnapshotConfig = msgspec.field(default_factory=SnapshotConfig)
    validation: ValidationConfig = msgspec.field(default_factory=ValidationConfig)
    l0_retention: Duration = msgspec.field(default=Duration(300), name="l0-retention")
    l0_retention_check_interval: Duration = msgspec.field(
        default=Duration(15), name="l0-retention-check-interval"
    )
    verify_compaction: bool = False
    retention: RetentionConfig = msgspec.field(default_factory=RetentionConfig)
    heartbeat_url: str | None = None
    heartbeat_interval: Duration = Duration(300)
    shutdown_timeout: Duration = Duration(30)
    shutdown_sync_timeout: Duration = Duration(30)
    shutdown_sync_interval: Duration = Duration(0.5)
    exec: str | None = None
    logging: LoggingConfig = msgspec.field(default_factory=LoggingConfig)
    mcp_addr: str | None = None
    dbs: list[DBConfig] = []

    def find(self, path: str | os.PathLike[str]) -> DBConfig:
        """The entry of the database at ``path``. Databases of watched directories have none.

        Raises:
            ConfigError: there is no such entry.
        """
        wanted = expand_path(os.fspath(path))
        for each in self.dbs:
            if each.path and expand_path(each.path) == wanted:
                return each
        names = ", ".join(each.path for each in self.dbs if each.path is not None)
        hint = f"the file has: {names}" if names else "the file has no database with a path"
        error = _fault("dbs", f"database not found in config: {wanted}", hint)
        error.path = str(wanted)
        raise error

    def replica(self, db: DBConfig, name: str | None = None) -> ReplicaConfig:
        """The replica of a database, with what it takes over from the top of the file.

        Args:
            db: an entry of ``dbs``.
            name: the ``label`` of the replica: its ``name``, else its type, such as ``file`` or ``s3``. Not needed if the
                database has one replica.

        Raises:
            ConfigError: the database has no replica, or none of this name, or several to choose from. In the last two cases
                ``key`` is ``name``, and the text or the hint has the names.
        """
        index = next((n for n, each in enumerate(self.dbs) if each is db), 0)
        own = _choose(db, f"dbs[{index}].replica", name)
        names = set(ReplicaSettings.__struct_fields__) - NOT_INHERITED
        inherited = {name: getattr(self, name) for name in names if getattr(own, name) is None}
        if self.skip_verify:
            inherited["skip_verify"] = True  # cannot be taken back below
        return msgspec.structs.replace(own, **inherited)

    def client(self, db: DBConfig, name: str | None = None) -> ReplicaClient:
        """The client of a database's replica; ``name`` as for :meth:`replica`.

        Raises:
            ConfigError: as :meth:`replica`; or there is no client of this kind, or the replica is encrypted.
        """
        replica = self.replica(db, name)
        kind = replica.kind
        if replica.age is not None and replica.age.is_used:
            text = (
                f"replica {replica.label} of {db.path or db.dir}: age encryption is not currently supported"
            )
            raise _fault("age", text)
        if kind == "s3":
            return _s3_client(replica)
        if replica.url is not None:
            has_options = kind not in ("file", "http", "https")
            return client_from_url(replica.url, **(replica.settings() if has_options else {}))
        if kind == "file" and replica.path:
            return FileClient(expand_path(replica.path))
        message = (
            "file replica path required" if kind == "file" else f"no replica client of the type {kind!r}"
        )
        raise _fault("path" if kind == "file" else "type", f"{message}: {db.path or db.dir}")


def _choose(db: DBConfig, key: str, name: str | None) -> ReplicaConfig:
    """The entry of a database's replica; ``key`` is the place of the only one."""
    entries = [*db.replicas] if db.replica is None else [db.replica]
    place, labels = db.path or db.dir, ", ".join(each.label for each in entries)
    if not entries:
        raise _fault(key, f"must specify replica for database: {place}")
    found = [each for each in entries if name in (None, each.label)]
    if len(found) == 1:
        return found[0]
    if name is None:
        raise _fault("name", f"{place} has {len(entries)} replicas: {labels}", "give the name of one")
    if not found:
        raise _fault("name", f"{place} has no replica named {name}", f"the database has: {labels}")
    hint = "give each of them a name in the configuration file"
    raise _fault("name", f"{place} has {len(found)} replicas named {name}", hint)


def _fault(key: str, text: str, hint: str | None = None) -> ConfigError:
    error = ConfigError(text, op="config", hint=hint)
    error.key = key
    return error


def _s3_client(replica: ReplicaConfig) -> ReplicaClient:
    """The client of a bucket. What stands in the file overrides what is in the URL."""
    from ltxcore.clients import s3  # not needed for a directory

    options: Any = {
        name: value for name, value in replica.settings().items() if name in s3.S3Options.__annotations__
    }
    return s3.from_url(replica.url or "s3://", bucket=replica.bucket, path=replica.path, **options)
