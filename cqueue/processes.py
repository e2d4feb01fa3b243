"""Processes that must not outlive the one that started them.

The kernel is asked, not a watching thread: it also works when the parent is killed outright.
Linux only; elsewhere the request is dropped and a process watches its parent in its own way.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from cqueue import logs
from cqueue.errors import Unusable

log = logs.of(__name__)

EXIT_FAILED: Final = 1

_PR_SET_PDEATHSIG: Final = 1
"""Source: prctl(2). Survives exec, is cleared in a forked child."""


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel send this process SIGKILL as soon as its parent ends, however it ends.

    "Parent" is the thread that forked this process: start such processes from a main thread.

    Args:
        parent_pid: the parent's pid, where the caller knows it. A parent that ended before the
            request reached the kernel sends no signal any more: then this process ends itself.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def fork(body: Callable[[], int], *, ignore_interrupt: bool = False) -> int:
    """Run `body` in a child that dies with this process and exits with what `body` returns.

    What `body` raises becomes a line on stderr and an exit code. Only for processes with one thread.

    Args:
        body: what the child does.
        ignore_interrupt: the child leaves Ctrl-C, which reaches the whole group, to its parent.

    Returns:
        The child's pid.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(parent, body, ignore_interrupt=ignore_interrupt)
    return pid


def _be_child(parent: int, body: Callable[[], int], *, ignore_interrupt: bool) -> NoReturn:
    code = EXIT_FAILED
    try:
        die_with_parent(parent)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if ignore_interrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = body()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else EXIT_FAILED
    except Unusable as error:
        sys.stderr.write(f"cqueue: {error.detail}\n")
        code = error.exit_code
    except BaseException:
        log.exception("process_failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
