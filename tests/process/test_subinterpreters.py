"""A subinterpreter is refused in words, of either kind, before and after the main one has imported the package.

In one that shares the interpreter's lock, as those of mod_wsgi do, the import worked, and the first client in Python hung.
"""

import subprocess
from pathlib import Path

import pytest

import ltxcore

from tests.helpers.process import environment
from tests.process.test_vfs_exits import interpreters, label

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

WORK = """
import sys

IMPORT = '''
try:
    import ltxcore
except ImportError as error:
    print("refused" if "subinterpreter" in str(error) else error, flush=True)
'''

if sys.version_info >= (3, 13):
    import _interpreters as sub
    kinds = [lambda: sub.create("isolated"), lambda: sub.create("legacy")]
    run = sub.exec
else:
    import _xxsubinterpreters as sub
    kinds = [lambda: sub.create(isolated=True), lambda: sub.create(isolated=False)]
    run = sub.run_string

def all_kinds():
    for create in kinds:
        other = create()
        run(other, IMPORT)
        sub.destroy(other)

all_kinds()
import ltxcore
all_kinds()
print(ltxcore.TXID(1), flush=True)
"""


@pytest.mark.parametrize("python", interpreters(), ids=label)
def test_a_subinterpreter_is_refused(python: str, tmp_path: Path) -> None:
    env = environment(PYTHONPATH=str(Path(ltxcore.__file__).parents[1]), PYTHONDONTWRITEBYTECODE="1")
    argv = [python, "-W", "ignore", "-c", WORK]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*["refused"] * 4, "0000000000000001"]
