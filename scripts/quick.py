"""Run the tests of what changed since main: the crates that were touched, and the quick Python folders."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICK_FOLDERS = ("tests/unit", "tests/cli", "tests/integration")


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def changed() -> set[str]:
    """Paths that differ from main, committed or not, and new ones."""
    differing = output("git", "diff", "--name-only", "main")
    return set(differing.splitlines()) | set(
        output("git", "ls-files", "--others", "--exclude-standard").splitlines()
    )


def crates(paths: set[str]) -> list[str]:
    """Names of the crates that hold one of the paths."""
    packages = json.loads(output("cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"))[
        "packages"
    ]
    folders = {
        package["name"]: Path(package["manifest_path"]).parent.relative_to(ROOT) for package in packages
    }
    return sorted(
        name for name, folder in folders.items() if any(Path(path).is_relative_to(folder) for path in paths)
    )


def main() -> None:
    """Run what concerns the change; exit with the first failure."""
    paths = changed()
    commands = [
        ["cargo", "test", "--quiet", *(f"--package={name}" for name in names)]
        for names in [crates(paths)]
        if names
    ]
    folders = [folder for folder in QUICK_FOLDERS if (ROOT / folder).is_dir()]
    if any(path.startswith(("python/", "tests/", "rust/")) for path in paths):
        commands.append(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-m",
                "not slow and not network and not process",
                *folders,
            ]
        )
    for command in commands:
        print("$", *command, flush=True)
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit(code)


if __name__ == "__main__":
    main()
