"""Fail on modules of one Rust crate that use each other in a circle, but for those in the table.

A module here is a file or folder right below `src`; its tests are left out. What counts is a path that begins with
`crate::`, which is how the sources name modules of their own crate.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# crate: circles of modules, and why they stay
CIRCLES: dict[str, dict[frozenset[str], str]] = {
    "ltx": {
        frozenset({"error", "types"}): "errors carry the values that they are about, and values are parsed",
    },
    "vfs": {
        frozenset(
            {"callbacks", "guard", "io_methods", "registry"}
        ): "SQLite's table names callbacks, which find it again",
    },
}

COMMENT = re.compile(r"//[^\n]*")
TESTS = re.compile(r"#\[cfg\(test\)\]\nmod tests \{.*", re.DOTALL)
ONE, SEVERAL = re.compile(r"\bcrate::(\w+)"), re.compile(r"\bcrate::\{([^;]*)\};")


def arrows(source: Path) -> dict[str, set[str]]:
    """Which modules each module of a crate uses."""
    modules = {path.name.removesuffix(".rs") for path in source.iterdir()} - {"lib"}
    found: dict[str, set[str]] = {module: set() for module in modules}
    for path in sorted(source.rglob("*.rs")):
        inside = path.relative_to(source)
        module = inside.parts[0].removesuffix(".rs")
        if module == "lib" or "tests" in inside.as_posix():
            continue
        text = TESTS.sub("", COMMENT.sub("", path.read_text("ascii")))
        used = set(ONE.findall(text)) | {
            word for names in SEVERAL.findall(text) for word in re.findall(r"\w+", names)
        }
        found[module] |= used & modules - {module}
    return found


def circles(found: dict[str, set[str]]) -> set[frozenset[str]]:
    """The largest groups of modules in which each uses each, if only through others."""
    reached = {module: set(used) for module, used in found.items()}
    for through in reached:
        for used in reached.values():
            if through in used:
                used |= reached[through]
    groups = (
        frozenset(other for other in used if module in reached[other]) for module, used in reached.items()
    )
    return {group for group in groups if len(group) > 1}


def faults() -> Iterator[str]:
    """Every circle that is not in the table, and every one in the table that is none any more."""
    for source in sorted((ROOT / "rust").glob("*/src")):
        crate, known = source.parent.name, CIRCLES.get(source.parent.name, {})
        found = circles(arrows(source))
        yield from (f"crate {crate}: circle of {', '.join(sorted(group))}" for group in found - known.keys())
        yield from (
            f"crate {crate}: {', '.join(sorted(group))} are no circle" for group in known.keys() - found
        )


def main() -> None:
    """Print every fault; exit 1 if there is one."""
    found = list(faults())
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
