"""The golden vectors, copied to where a test may use them, with the times that belong to them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def manifests(group: str) -> dict[str, dict[str, Any]]:
    found = {
        path.parent.name: json.loads(path.read_text()) for path in (VECTORS / group).glob("*/manifest.json")
    }
    assert found, f"no vectors in {VECTORS / group}"
    return dict(sorted(found.items()))


def copy_case(name: str, target: Path, *, group: str = "v05") -> Path:
    """A case with its modification times; the replica's directory."""
    source = VECTORS / group / name
    shutil.copytree(source / "replica", target / "replica")
    _set_times(target, json.loads((source / "manifest.json").read_text()))
    return target / "replica"


def _set_times(target: Path, manifest: dict[str, Any]) -> None:
    for file in manifest["files"]:
        if (target / file["path"]).exists():
            os.utime(target / file["path"], ns=(file["mtime_ns"], file["mtime_ns"]))


def copy_damaged(name: str, target: Path, *, group: str = "v05") -> Path:
    """The base of the damaged cases of a group with one variant's fault; in v03, with the times of the base."""
    source = VECTORS / f"{group}_corrupt" / name
    manifest = json.loads((source / "manifest.json").read_text())
    base = VECTORS / manifest["base"]
    replica = target / "replica"
    shutil.copytree(base, replica)
    for path in manifest["deleted"]:
        (replica / path).unlink()
    for path in manifest["replaced_or_added"]:
        shutil.copy(source / "replica" / path, replica / path)
    whole = base.parent / "manifest.json"
    if whole.exists():
        _set_times(target, json.loads(whole.read_text()))
    return replica
