"""SQLite's sources and the programs made of them, in a folder that git ignores.

The sources are those of Debian's package, fetched through a configuration of apt that lives in that folder: neither
the machine's package sources nor its lists change. Whatever is there already is not made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

OURS = Path(__file__).parent / "c"
SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: A program, and the package that has it.
PACKAGES = {"gcc": "gcc", "make": "make", "dpkg-source": "dpkg-dev", "tclsh": "tcl", "strace": "strace"}
STUB = "-DSQLITE_EXTRA_INIT=conformance_stub"
LIBRARIES = ("-lm", "-ldl", "-lpthread")
#: Program, sources below the tree of SQLite.
PROGRAMS = {
    "mptester": ("mptest/mptest.c",),
    "speedtest1": ("test/speedtest1.c",),
    "kvtest": ("test/kvtest.c",),
    "threadtest3": ("test/threadtest3.c", "src/test_multiplex.c"),
    "threadtest4": ("test/threadtest4.c",),
    "threadtest5": ("test/threadtest5.c",),
}
#: Program of ours, its sources.
OWN_PROGRAMS = {"own": ("own.c",), "contend": ("contend.c",), "connections": ("connections.c",)}
#: Shared object of ours, its sources.
OBJECTS = {"inject.so": ("inject.c", "broken.c", "instruments.c"), "foreign.so": ("foreign.c",)}


class ScratchError(Exception):
    """The programs cannot be made here."""


def say(text: str) -> None:
    """Progress, not part of the table."""
    print(f"conformance: {text}", file=sys.stderr, flush=True)


class Scratch:
    """The folder: `tree` is SQLite's source, `bin` holds what was built, `run` what is running."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.bin, self.log = self.root / "bin", self.root / "build.log"

    @property
    def tree(self) -> Path:
        """SQLite's source, whatever version the archive has."""
        found = sorted(path for path in self.root.glob("sqlite3-*") if path.is_dir())
        if not found:
            raise ScratchError(f"no source of SQLite in {self.root}")
        return found[-1]

    def program(self, name: str) -> Path:
        """One of the programs."""
        return self.bin / name

    def prepare(self, *, tcl: bool) -> None:
        """Make whatever is missing; `tcl` says whether the Tcl suite is among it."""
        self.bin.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        install_packages(tcl=tcl)
        if not any(self.root.glob("sqlite3-*/configure")):
            say(f"fetching SQLite's source from Debian {SUITE}")
            self.fetch()
        self.build_library()
        self.build_programs()
        if tcl:
            self.build_testfixture()

    def run(self, argv: Sequence[object], cwd: Path, **environment: str) -> None:
        """One command of the build; an error has the end of what it said."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                list(map(str, argv)),
                cwd=cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
                check=False,
            )
        if done.returncode != 0:
            last = self.log.read_text(errors="replace").splitlines()[-15:]
            raise ScratchError("\n".join([f"{argv[0]}: exit code {done.returncode}", *last]))

    def fetch(self) -> None:
        """`apt-get source`, from a package source that only this command knows."""
        apt = self.root / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (apt / name).mkdir(parents=True, exist_ok=True)
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (apt / "sources.list").write_text(f"deb-src {signed}http://deb.debian.org/debian {SUITE} main\n")
        settings = {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": apt / "lists",
            "Dir::Cache": apt / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        (apt / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
        for command in (("update",), ("source", "sqlite3")):
            self.run(["apt-get", *command], self.root, APT_CONFIG=str(apt / "apt.conf"))

    def build_library(self) -> None:
        """SQLite as a shared library, for all programs but the Tcl suite. Its stub is all that is ours in it."""
        if self.is_current("library", OURS / "stub.c"):
            return
        say("building SQLite")
        self.run([self.tree / "configure", "--disable-tcl"], self.fresh("library"))
        folder = self.root / "library"
        self.run(["make", "sqlite3.c"], folder)
        with (folder / "sqlite3.c").open("ab") as amalgamation:
            amalgamation.write((OURS / "stub.c").read_bytes())
        # What configure found (pread, fdatasync): without it the stock VFS is slower than any distribution's.
        options = ["-D_HAVE_SQLITE_CONFIG_H", "-DSQLITE_THREADSAFE=1", "-DSQLITE_ENABLE_DBSTAT_VTAB", STUB]
        shared = ["-O2", "-w", "-fPIC", "-shared", *options, f"-I{folder}", "sqlite3.c"]
        self.run(["gcc", *shared, "-o", self.bin / "libsqlite3.so", *LIBRARIES], folder)
        # The stand-in needs a copy that the dynamic linker does not take for the same library.
        shutil.copyfile(self.bin / "libsqlite3.so", self.bin / "libforeign.so")
        self.mark("library", OURS / "stub.c")

    def build_programs(self) -> None:
        """SQLite's programs and ours. They take a moment only, so ours are always made anew."""
        include = [f"-I{folder}" for folder in (self.root / "library", self.tree / "src", self.tree / "test")]
        link = [f"-Wl,-rpath,{self.bin}", f"-L{self.bin}", "-lsqlite3", *LIBRARIES]
        for name, sources in PROGRAMS.items():
            paths = [self.tree / source for source in sources]
            if not self.program(name).exists():
                self.run(["gcc", "-O2", "-w", *include, "-o", self.program(name), *paths, *link], self.bin)
        strict = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", *include[:1]]
        for name, sources in OWN_PROGRAMS.items():
            paths = [OURS / source for source in sources]
            self.run([*strict, "-o", self.program(name), *paths, *link], self.bin)
        for name, sources in OBJECTS.items():
            paths = [OURS / source for source in sources]
            self.run([*strict, "-fPIC", "-shared", "-o", self.program(name), *paths, *LIBRARIES], self.bin)

    def build_testfixture(self) -> None:
        """The interpreter of the Tcl suite, which has SQLite built in, with all its test instruments."""
        if self.is_current("tcl", OURS / "stub.c"):
            return
        say("building testfixture")
        folder = self.fresh("tcl")
        config = next(iter(sorted(Path("/usr/lib").glob("**/tcl8.*/tclConfig.sh"))), None)
        if config is None:
            raise ScratchError("no tclConfig.sh: install tcl-dev")
        configure = ["--enable-all", "--enable-load-extension", f"--with-tcl={config.parent}"]
        self.run([self.tree / "configure", *configure], folder)
        self.run(["make", "sqlite3.c"], folder)
        with (folder / "sqlite3.c").open("ab") as amalgamation:
            amalgamation.write((OURS / "stub.c").read_bytes())
        self.run(["make", "testfixture", f"CFLAGS=-O1 -w {STUB}"], folder)
        shutil.copy2(folder / "testfixture", self.bin / "testfixture")
        self.mark("tcl", OURS / "stub.c")

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def is_current(self, name: str, source: Path) -> bool:
        """Whether a build is there, and made of the file as it is now."""
        mark = self.root / name / "made-of"
        return mark.exists() and mark.read_text() == digest(source, self.tree)

    def mark(self, name: str, source: Path) -> None:
        """A build is complete."""
        (self.root / name / "made-of").write_text(digest(source, self.tree))


def digest(source: Path, tree: Path) -> str:
    """What a build was made of."""
    return f"{tree.name} {hashlib.sha256(source.read_bytes()).hexdigest()}"


def install_packages(*, tcl: bool) -> None:
    """Packages by name, where a program is missing and we may; else an error that says what to install."""
    missing = {package for program, package in PACKAGES.items() if shutil.which(program) is None}
    if tcl and not any(Path("/usr/lib").glob("**/tcl8.*/tclConfig.sh")):
        missing.add("tcl-dev")
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ScratchError(f"please install: {' '.join(sorted(missing))}")
    say(f"installing {' '.join(sorted(missing))}")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *sorted(missing)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ScratchError(f"{' '.join(command)}: exit code {done.returncode}")
