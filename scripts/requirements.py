"""Print one list of requirements from pyproject.toml, so that no second file has to agree with it.

Usage: requirements.py build | dev
"""

import sys
import tomllib
from pathlib import Path


def main(which: str) -> None:
    """Print the requirements of the build back end, or those of one extra."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("ascii"))
    wanted = project["build-system"]["requires"]
    if which != "build":
        # The run-time ones too: the linters read modules that import them.
        wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"][which]
    print(*wanted, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
