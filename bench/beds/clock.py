"""Where the time of a gateway's processes goes, sampled by perf's cpu-clock."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

HERTZ = 4000
_COPIES = ("_copy_to_iter", "_copy_from_iter", "rep_movs", "copy_user", "memcpy")
# System calls by the kernel's function that serves them.
_SERVES = {
    "vfs_read": "read TUN",
    "do_writev": "write TUN",
    "vfs_writev": "write TUN",
    "__sys_recvmmsg": "receive",
    "do_recvmmsg": "receive",
    "__sys_sendmmsg": "send",
    "do_epoll_wait": "wait",
    "__x64_sys_epoll_wait": "wait",
    "__x64_sys_poll": "wait",
}
_LIBRARIES = {"_native": "our code", "libIPSec_MB": "AES-GCM", "libcrypto": "AES-GCM"}


def sample(pids: Sequence[int], out: Path, work: Callable[[], float]) -> tuple[Counter[str], float]:
    """Do `work` and return seconds of the processes' CPU by stage meanwhile, and its result."""
    words = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-g", "-o", str(out)]
    perf = subprocess.Popen([*words, "-p", ",".join(map(str, pids))], stderr=subprocess.DEVNULL)
    try:
        done = work()
    finally:
        perf.terminate()
        perf.wait()
    words = ["perf", "script", "-i", str(out), "-F", "ip,sym,dso"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return Counter({name: n / HERTZ for name, n in stages(text).items()}), done


def stages(text: str) -> Counter[str]:
    """Return the samples by stage of what `perf script -F ip,sym,dso` printed."""
    return Counter(_stage(frames) for frames in _stacks(text.splitlines()))


def _stacks(lines: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield the stack of each sample, its leaf first: function and object."""
    frames: list[tuple[str, str]] = []
    for line in lines:
        words = line.split()
        if len(words) >= 3:
            frames.append((words[1].partition("+")[0], words[-1].strip("()")))
        elif not words and frames:
            yield frames
            frames = []
    if frames:
        yield frames


def _stage(frames: list[tuple[str, str]]) -> str:
    leaf, place = frames[0]
    if "kernel" not in place:
        if leaf.startswith(("__memmove", "__memcpy")):
            return "our code: copy"
        named = (stage for name, stage in _LIBRARIES.items() if name in place)
        return next(named, "libc and Python")
    names = [name for name, _ in frames]
    if "handle_softirqs" in names or "__do_softirq" in names:
        return "kernel: what lies behind the devices"
    if "__schedule" in names or "finish_task_switch.isra.0" in names:
        return "kernel: waiting and switching"
    served = next((_SERVES[name] for name in names if name in _SERVES), None)
    if served is None:
        return "kernel: entry and other"
    if served == "wait":
        return "kernel: waiting and switching"
    copies = any(part in leaf for part in _COPIES)
    return f"kernel: {served}, {'copy' if copies else 'other'}"
