"""Become another program, one that ends with the process that started it.

Usage: python -m tests.helpers.leash PROGRAM ARGUMENT...

A server that outlives a killed pytest keeps its ports, its memory and a directory that nobody removes. The kernel's word for it
(PR_SET_PDEATHSIG) survives `exec`, so the program keeps the pid under which it was started. It is about the *thread* that
started it, so servers are started by threads that live as long as they are needed. Elsewhere than on Linux only an orderly end
of pytest ends them.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:  # it died before we asked
        sys.exit("the process that started this one is gone")
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
