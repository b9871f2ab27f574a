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


def copy_case(name: str, target: Path) -> Path:
    """A v05 case with its modification times; the replica's directory."""
    source = VECTORS / "v05" / name
    shutil.copytree(source / "replica", target / "replica")
    for file in json.loads((source / "manifest.json").read_text())["files"]:
        os.utime(target / file["path"], ns=(file["mtime_ns"], file["mtime_ns"]))
    return target / "replica"


def copy_damaged(name: str, target: Path) -> Path:
    """The base of the damaged cases with one variant's fault."""
    source = VECTORS / "v05_corrupt" / name
    manifest = json.loads((source / "manifest.json").read_text())
    replica = target / "replica"
    shutil.copytree(VECTORS / "v05_corrupt" / "_base" / "replica", replica)
    for path in manifest["deleted"]:
        (replica / path).unlink()
    for path in manifest["replaced_or_added"]:
        shutil.copy(source / "replica" / path, replica / path)
    return replica
