"""Every example in the README, docs/ and examples/ runs as it stands there. tests/helpers/documents.py has the convention."""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers import documents

pytestmark = [
    pytest.mark.skipif(not documents.PAGES[0].exists(), reason="the sources are out of reach"),
    pytest.mark.process,
    pytest.mark.timeout(90),
]
RUN = {"python", "console", "sh"}
#: What stands in a page and does not run.
SHOWN = {"text", "ini", "yaml", ""}


def pages():
    return [
        *(
            page
            for page in documents.PAGES
            if page.exists() and any(block.kind in RUN for block in documents.blocks(page))
        ),
        *sorted(documents.ROOT.glob("examples/*.py")),
    ]


def run(page, folder):
    """Read a page, or run a program, in a process of its own; how it ended, and what it printed."""
    what = [page] if page.suffix == ".py" else ["-m", "tests.helpers.documents", "run", page]
    reader = subprocess.Popen(
        [sys.executable, "-W", "error", *what],
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path), COLUMNS="100"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = reader.communicate(timeout=80)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(reader.pid, signal.SIGKILL)  # what the page started and did not end, too
    return reader.returncode, out


@pytest.fixture(scope="module")
def readings(request, tmp_path_factory):
    """The pages that were chosen, read a few at a time, since they mostly wait."""
    chosen = {
        item.callspec.params["page"]
        for item in request.session.items
        if getattr(item, "function", None) is test_every_example_runs
    }
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield {page: pool.submit(run, page, tmp_path_factory.mktemp(page.stem)) for page in chosen}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_example_runs(page, readings):
    code, out = readings[page].result()
    assert code == 0, out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nraise ValueError('no')\n```\n", 'page.md", line 2'),
        ("```console\n$ ltxcore version\n99 bottles\n```\n", "not printed: 99 bottles"),
        ("```console\n$ ltxcore no-such-command\n```\n", "exit code 2"),
        ("```sh\nfalse\n```\n", "CalledProcessError"),
    ],
)
def test_an_example_that_is_wrong_fails(tmp_path, text, says):
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "here").mkdir()
    code, out = run(page, tmp_path / "here")
    assert code == 1 and says in out


@pytest.mark.parametrize("page", documents.PAGES, ids=lambda page: page.stem)
def test_blocks_are_marked_as_what_they_are(page):
    kinds = {block.kind for block in documents.blocks(page)}
    assert kinds <= RUN | SHOWN
    if page.name not in {"cli.md", "design.md"}:  # usage lines, drawings
        assert "" not in kinds
