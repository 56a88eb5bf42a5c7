"""CPU seconds of processes, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds (user and system, all threads) these processes have used so far."""
    return sum(_cpu_of(pid) for pid in pids)


def _cpu_of(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # The name, in brackets, may hold spaces; utime and stime are fields 14 and 15.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def run_s(pids: Iterable[int]) -> float:
    """
    Return the same to the nanosecond, for what takes too short for the kernel's ticks.

    A thread that has ended is no longer in it.
    """
    return sum(sum(threads_s(pid).values()) for pid in pids)


def threads_s(pid: int) -> dict[int, float]:
    """Return the CPU seconds of each thread of a process so far."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def waited_s(pids: Iterable[int]) -> float:
    """Return the seconds in which threads of these processes could run and had no CPU, so far."""
    total = 0
    for task in (each for pid in pids for each in Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[1])
    return total / 1e9


def resident_mib(pids: Iterable[int]) -> float:
    """Return the resident memory of these processes in MiB."""
    return sum(_resident_of(pid) for pid in pids) / 2**20


def _resident_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0
