"""Fail on any dependency that points up or sideways, between Rust crates, Python modules, or rooms of a package.

The tables are those of docs/design.md, section "Layers". A crate, module or room that is missing from its table
fails too: whoever adds one has to say where it stands.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# crate: the crates of ours it may use
CRATES: dict[str, set[str]] = {
    "dbfile": set(),
    "durable": set(),
    "forks": set(),
    "http-ranges": {"forks"},
    "ltx": set(),
    "vfs": {"forks"},
    "wal": {"dbfile", "ltx"},
    "osvfs": {"dbfile", "durable", "forks", "vfs"},
    "replica": {"dbfile", "durable", "forks", "http-ranges", "ltx"},
    "engine": {"dbfile", "durable", "forks", "wal", "osvfs", "ltx"},
    "mirror": {"dbfile", "durable", "ltx", "osvfs", "replica"},
    "readvfs": {"dbfile", "forks", "ltx", "replica", "vfs"},
    "legacy": {"durable", "forks", "wal", "replica", "ltx"},
    "ltxcore-ext": {"vfs", "osvfs"},
    "ltxcore-py": {
        "dbfile",
        "forks",
        "http-ranges",
        "ltx",
        "vfs",
        "wal",
        "osvfs",
        "replica",
        "engine",
        "mirror",
        "readvfs",
        "legacy",
    },
}
# May use everything, and nothing but tests and benchmarks may use them.
DEV_CRATES = {"testkit", "codec-bench"}
# crates of others that only some of ours may link
GUARDED: dict[str, set[str]] = {
    "pyo3": {"ltxcore-py"},
    "rusqlite": {"engine"},
    "libsqlite3-sys": {"engine"},
    "ureq": {"http-ranges"},
}

# room of ltxcore, a package or a module: the rooms it may import; the native module is below them all
MODULES: dict[str, set[str]] = {
    "errors": set(),
    "stores": set(),
    "ltx": {"errors"},
    "_process": {"errors"},
    "clients": {"errors", "stores", "ltx", "_process"},
    "config": {"errors", "ltx", "_process", "clients"},
    "replica": {"errors", "ltx", "_process", "clients"},
    "vfs": {"errors", "ltx", "_process", "clients"},
    "testing": {"errors", "stores", "ltx", "clients"},
    "legacy": {"errors", "stores", "ltx", "_process", "clients", "replica"},
    "_restore": {"errors", "ltx", "_process", "clients", "replica", "legacy"},
    "db": {"errors", "stores", "ltx", "_process", "clients", "replica", "legacy"},
    "blob_store": {"errors", "_process", "vfs"},
}
TOP = {"__init__", "__main__", "cli"}
LOWEST = {"_ltxcore"}
# Rooms of a package that has some, which are its folders and the modules beside them: the rooms that each may import.
ROOMS: dict[str, dict[str, set[str]]] = {
    "blob_store": {
        "_values": set(),
        "_sql": {"_values"},
        "_process": {"_values", "_sql"},
        "_writer": {"_values", "_sql", "_process"},
        "_files": {"_values", "_sql", "_process", "_writer"},
        "_engine": {"_values", "_sql", "_process", "_writer", "_files"},
        "_importer": {"_values", "_sql"},
        "_store": {"_values", "_sql", "_process", "_writer", "_files", "_engine", "_importer"},
        "_async": {"_values", "_store"},
    },
}


def crate_faults() -> Iterator[str]:
    """Every edge between crates that the table does not allow."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    packages: list[dict[str, Any]] = json.loads(found.stdout)["packages"]
    ours = {package["name"] for package in packages}
    for package in packages:
        name = package["name"]
        if name in DEV_CRATES:
            continue
        if name not in CRATES:
            yield f"crate {name} is not in the table"
            continue
        for dependency in package["dependencies"]:
            yield from edge_faults(name, dependency, ours)


def edge_faults(name: str, dependency: dict[str, Any], ours: set[str]) -> Iterator[str]:
    """What is wrong with one dependency of one crate."""
    wanted, for_tests = dependency["name"], dependency["kind"] == "dev"
    if wanted in GUARDED and name not in GUARDED[wanted] and not for_tests:
        yield f"crate {name} must not link {wanted}"
    if wanted not in ours or (wanted in DEV_CRATES and for_tests):
        return
    if wanted not in CRATES[name]:
        yield f"crate {name} must not depend on {wanted}"


def module_faults() -> Iterator[str]:
    """Every import inside the Python package that the table does not allow."""
    package = ROOT / "python" / "ltxcore"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).parts[0].removesuffix(".py")
        if name in TOP:
            continue
        if name not in MODULES:
            yield f"module {name} is not in the table"
            continue
        allowed = MODULES[name] | LOWEST | {name}
        for line, full in imported(path, package):
            wanted = full.split(".")[1]
            if wanted not in allowed:
                yield f"{path.relative_to(ROOT)}:{line}: {name} must not import {wanted}"


def room_faults() -> Iterator[str]:
    """Every import inside a package with rooms that its table does not allow."""
    package = ROOT / "python" / "ltxcore"
    for name, rooms in ROOMS.items():
        for path in sorted((package / name).rglob("*.py")):
            room = path.relative_to(package / name).parts[0].removesuffix(".py")
            if room in TOP:
                continue
            if room not in rooms:
                yield f"room {room} of {name} is not in the table"
                continue
            for line, full in imported(path, package):
                _, first, wanted, *_ = [*full.split("."), "__init__"]
                if first == name and wanted not in rooms[room] | {room}:
                    yield f"{path.relative_to(ROOT)}:{line}: {room} must not import {wanted}"


def circle_faults() -> Iterator[str]:
    """Every module that imports itself by way of others; the rooms are in order, so that all of these are in one room."""
    package = ROOT / "python" / "ltxcore"
    modules = {dotted(path, package): path for path in package.rglob("*.py")}
    arrows = {
        module: {
            full if full in modules else full.rpartition(".")[0]
            for _, full in imported(path, package)
            if full.split(".")[1] not in LOWEST
        }
        for module, path in modules.items()
    }
    circular = [module for module in sorted(arrows) if module in reached(module, arrows)]
    yield from (f"{module} imports itself by way of others" for module in circular)


def dotted(path: Path, package: Path) -> str:
    """A module's full name."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
    """All modules that a module imports, and those that they import."""
    found: set[str] = set()
    left = [start]
    while left:
        for module in arrows.get(left.pop(), set()) - found:
            found.add(module)
            left.append(module)
    return found


def imported(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each import of ours in a file; those for type checkers alone are free."""
    inside = path.relative_to(package).parent.parts
    tree = ast.parse(path.read_text("ascii"))
    free = {id(node) for block in ast.walk(tree) if is_typing_only(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in free:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = full_names(node, inside)
        else:
            continue
        for name in names:
            if name.startswith("ltxcore."):
                yield node.lineno, name


def full_names(node: ast.ImportFrom, inside: tuple[str, ...]) -> list[str]:
    """Absolute names of what a `from ... import ...` asks for."""
    base = ["ltxcore", *inside][: 1 + len(inside) - (node.level - 1)] if node.level else []
    base += node.module.split(".") if node.module else []
    return [".".join([*base, alias.name]) for alias in node.names]


def is_typing_only(node: ast.AST) -> bool:
    """Whether a node is an `if TYPE_CHECKING:` block."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def main() -> None:
    """Print every fault; exit 1 if there is one."""
    faults = [*dict.fromkeys([*crate_faults(), *module_faults(), *room_faults(), *circle_faults()])]
    print(*faults, sep="\n", end="\n" * bool(faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
