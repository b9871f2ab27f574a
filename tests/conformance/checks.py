"""The table of checks: which program, over which VFS names, and what is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.conformance import mptest, own, peer_suites, peers, programs, tcl, tcl_files
from tests.conformance.outcome import Outcome
from tests.conformance.site import Site
from tests.conformance.subject import Subject

DEFAULT = "ltx-os"
Run = Callable[[Site, Subject], Outcome]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. Without ``control`` a broken VFS is run like a whole one."""

    name: str
    vfs: str
    run: Run
    control: Run | None = None
    is_mixed: bool = False
    is_quick: bool = False
    #: Run it over stock, too; what the two report to compare must be the same.
    beside_stock: bool = True
    #: Stock is needed once for all checks that have this in common.
    stock_key: str = ""

    @property
    def title(self) -> str:
        """How it is called in the table, and by `--only`."""
        parts = [
            self.name,
            *([] if self.vfs == DEFAULT else [self.vfs]),
            *(["mixed"] if self.is_mixed else []),
        ]
        return "/".join(parts)


def all_checks(site: Site) -> list[Check]:
    """Every one, in the order in which they run: those that fail sooner come first."""
    found = [*own_checks(), *mptest_checks(), *program_checks(), *peer_checks(), *tcl_checks(site)]
    return [check for check in found if check.is_quick or not site.quick]


def own_checks() -> Iterator[Check]:
    """Ours, over the names whose locks all of them can use."""
    for vfs in (DEFAULT, "ltx-posix", "ltx-flock"):
        for name in own.CASES:
            if (name, vfs) == ("reserved", "ltx-flock"):
                continue  # flock has no level at which a writer lets readers in
            run = partial(own.case, name=name)
            yield Check(f"own/{name}", vfs, run, is_quick=vfs == DEFAULT)
    yield Check("own/syncs", DEFAULT, own.syncs, is_quick=True)


def mptest_checks() -> Iterator[Check]:
    """All scripts over every name that can do them; half of the processes on stock where the locks are the same."""
    for protocol in mptest.PROTOCOLS:
        for journal in protocol.journals:
            for script in protocol.scripts:
                if journal == "wal" and script in mptest.ROLLBACK_ONLY:
                    continue
                name = f"mptest/{script}/{journal}"
                run = partial(mptest.run, script=script, journal=journal)
                control = partial(run, timeout=mptest.CONTROL_TIMEOUT)
                quick = protocol.vfs == DEFAULT and not script.startswith("config")
                for is_mixed in (False, True) if protocol.is_mixable else (False,):
                    yield Check(
                        name,
                        protocol.vfs,
                        run,
                        control,
                        is_mixed,
                        quick,
                        stock_key=name,
                    )


def program_checks() -> Iterator[Check]:
    """Programs of one process. Those with few threads run over every name, since the locks are then ours alone."""
    for journal in ("delete", "wal"):
        for vfs in (DEFAULT, "ltx-posix", "ltx-flock", "ltx-dotfile", "ltx-excl"):
            for name, run in (("speedtest1", programs.speedtest), ("kvtest", programs.kvtest)):
                title = f"{name}/{journal}"
                quick = vfs == DEFAULT
                yield Check(title, vfs, partial(run, journal=journal), is_quick=quick, stock_key=title)
    for vfs in (DEFAULT, "ltx-posix", "ltx-flock", "ltx-excl"):
        for journal, wal in (("delete", False), ("wal", True)):
            title = f"threadtest4/{journal}"
            run_more = partial(programs.more_threads, wal=wal)
            yield Check(title, vfs, run_more, is_quick=vfs == DEFAULT, stock_key=title)
    yield Check("threadtest5", DEFAULT, programs.memory_threads, is_quick=True)
    for vfs in (DEFAULT, "ltx-posix"):
        yield Check("threadtest3", vfs, programs.threads, is_quick=vfs == DEFAULT, stock_key="threadtest3")


def peer_checks() -> Iterator[Check]:
    """Suites of others over the name that users will use. Each brings its own comparison with stock."""
    for number, (version, python) in enumerate(peers.interpreters().items()):
        run = partial(peers.cpython, python=python)
        yield Check(f"peers/cpython-{version}", DEFAULT, run, is_quick=number == 0, beside_stock=False)
    for suite in peer_suites.SUITES:
        yield Check(f"peers/{suite.name}", DEFAULT, partial(peers.peer, suite=suite), beside_stock=False)


def tcl_checks(site: Site) -> Iterator[Check]:
    """The suite over the name that users will use, its core over the next best; stock is part of the comparison."""
    core = list(tcl_files.CORE)
    control = partial(tcl.compare, names=core, timeout=tcl.CONTROL_TIMEOUT)
    yield Check(
        "tcl",
        DEFAULT,
        partial(tcl.compare, names=core if site.quick else None),
        control,
        is_quick=True,
        beside_stock=False,
    )
    yield Check("tcl", "ltx-posix", partial(tcl.compare, names=core), beside_stock=False)
