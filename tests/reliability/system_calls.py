"""Processes that are killed just before a chosen system call: Linux on x86-64, by ptrace."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable

SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"
TRACEME, CONTINUE_TO_CALL, PEEK_USER, SET_OPTIONS = 0, 24, 3, 0x4200
MARK_CALLS, NUMBER_OFFSET = 1, 15 * 8  # option PTRACE_O_TRACESYSGOOD; the register with the number of the call
# write, open, close, fsync, fdatasync, truncate, rename, mkdir, rmdir, link, unlink, sendfile, copy, and their variants
OF_FILES = {1, 2, 3, 18, 20, 40, 74, 75, 76, 77, 82, 83, 84, 86, 87, 257, 258, 263, 264, 265, 285, 316, 326}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def killed_before_call(work: Callable[[], object], number: int, every: bool = False) -> bool:
    """Run a function in a forked process, and kill it before its system call number `number`.

    Args:
        work: The function.
        number: From 0, among the calls that concern files.
        every: Count all system calls instead.

    Returns:
        Whether it was killed; False if it ended before, without an error.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    _libc.ptrace(SET_OPTIONS, child, None, MARK_CALLS)
    count, entering, passed = 0, True, 0
    while True:
        _libc.ptrace(CONTINUE_TO_CALL, child, None, passed)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            assert os.WIFEXITED(status), f"ended by signal {os.WTERMSIG(status)}"
            assert os.WEXITSTATUS(status) == 0, "the work failed"
            return False
        passed = os.WSTOPSIG(status)
        if passed != signal.SIGTRAP | 0x80:
            continue
        passed = 0
        if entering and (every or _libc.ptrace(PEEK_USER, child, NUMBER_OFFSET, None) in OF_FILES):
            if count == number:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return True
            count += 1
        entering = not entering
