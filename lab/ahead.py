"""
What gets the CPUs before all others, as if it had them to itself.

The kernel shares the CPUs between sessions first (autogroups, sched(7)), and `nice` decides only
within one. So processes go ahead by their session; threads of the kernel, which have none, by
themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.commands import LabError

_FIRST = -20
_KTHREADD = "2"  # the parent of all threads of the kernel


@contextmanager
def ahead(pids: Iterable[int]) -> Iterator[None]:
    """Let these processes and threads of the kernel go first in the block. Raises LabError."""
    with ExitStack() as stack:
        for pid in pids:
            change = _nice_thread if _is_of_kernel(pid) else _nice_session
            stack.callback(change, pid, change(pid, _FIRST))
        yield


def _is_of_kernel(pid: int) -> bool:
    # The name, in brackets, may hold spaces; what follows is the state and then the parent.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == _KTHREADD


def _nice_thread(pid: int, nice: int) -> int:
    before = os.getpriority(os.PRIO_PROCESS, pid)
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    return before


def _nice_session(pid: int, nice: int) -> int:
    file = Path(f"/proc/{pid}/autogroup")
    if os.getsid(pid) == os.getsid(0):
        raise LabError(f"process {pid} is of our own session, which would go first as a whole")
    try:
        before = int(file.read_text().split()[-1])  # "/autogroup-7 nice 0"
        file.write_text(f"{nice}\n")
    except (OSError, ValueError, IndexError):
        raise LabError("the kernel shares no CPUs by session (CONFIG_SCHED_AUTOGROUP)") from None
    return before
