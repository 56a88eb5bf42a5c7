"""What /proc tells of processes and sockets of the network namespace that this thread is in."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from gateway.cli.doctor.facts import Holder, OpenSocket
from gateway.cli.doctor.verdict import Unseen
from gateway.sa import Address

_PROC = Path("/proc")
_NET = _PROC / "thread-self" / "net"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_HIDDEN = Unseen("by a process of another user")
# linux/capability.h
_CAPABILITIES = {10: "cap_net_bind_service", 12: "cap_net_admin", 13: "cap_net_raw"}


def holders() -> dict[int, int]:
    """Return which process has each socket, by inode, as far as this user may see."""
    found: dict[int, int] = {}
    for directory in _PROC.glob("[0-9]*"):
        for inode in _sockets_of(directory / "fd"):
            found.setdefault(inode, int(directory.name))
    return found


def _sockets_of(directory: Path) -> Iterator[int]:
    """Yield the inodes of a process's sockets; none if it is not ours to look at, or gone."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):  # closed meanwhile
            if match := _SOCKET.fullmatch(os.readlink(directory / name)):
                yield int(match[1])


def servers(runtime_dir: Path, by_inode: Mapping[int, int]) -> frozenset[int]:
    """Return the processes that listen on the sockets in our runtime directory."""
    prefix = str(runtime_dir.resolve()) + "/"
    found = set()
    for line in _lines(_NET / "unix"):
        words = line.split(None, 7)
        if len(words) == 8 and words[7].startswith(prefix) and int(words[6]) in by_inode:
            found.add(by_inode[int(words[6])])
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Sockets:
    """Reads tables of sockets. `by_inode` is of `holders`, `ours` are our processes."""

    by_inode: Mapping[int, int]
    ours: frozenset[int]

    def table(self, name: str) -> tuple[OpenSocket, ...] | Unseen:
        """Return the sockets of a table, "udp" or "raw", of both IP versions."""
        try:
            return tuple(
                OpenSocket(_address(place), int(port, 16), self._holder(inode))
                for family in ("", "6")
                for place, port, inode in _rows(_NET / f"{name}{family}")
            )
        except OSError as error:
            return Unseen(f"/proc/net/{name}: {error.strerror}")

    def _holder(self, inode: int) -> Holder | Unseen:
        pid = self.by_inode.get(inode)
        if pid is None:
            return _HIDDEN
        return Holder(pid, program_of(pid), unit_of(pid), pid in self.ours)


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[1:]


def _rows(path: Path) -> Iterator[tuple[str, str, int]]:
    if not path.exists():  # a kernel without IPv6
        return
    for line in _lines(path):
        words = line.split()
        place, _, port = words[1].partition(":")
        yield place, port, int(words[9])


def _address(text: str) -> Address:
    """Return an address as /proc has it: words in the machine's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def program_of(pid: int) -> str:
    """Return the name of a process's program; "?" if it has gone."""
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"


def unit_of(pid: int) -> str:
    """Return the systemd service that a process is of, "" if it is of none."""
    try:
        lines = (_PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return ""
    parts = [part for line in lines for part in line.split("/")]
    return next((part for part in reversed(parts) if part.endswith(".service")), "")


def capabilities_of(pid: int) -> frozenset[str] | Unseen:
    """Return which of the capabilities that we know of a process has in effect."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError as error:
        return Unseen(f"/proc/{pid}/status: {error.strerror}")
    found = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return frozenset(name for bit, name in _CAPABILITIES.items() if found >> bit & 1)


def descriptors_of(pid: int) -> tuple[int, int] | Unseen:
    """Return how many files a process has open, and how many it may have."""
    try:
        opened = len(os.listdir(_PROC / str(pid) / "fd"))
        lines = (_PROC / str(pid) / "limits").read_text().splitlines()
    except OSError as error:
        return Unseen(f"/proc/{pid}: {error.strerror}")
    soft = next(line.split()[3] for line in lines if line.startswith("Max open files"))
    return opened, int(soft) if soft.isdecimal() else 1 << 31


def age_s(pid: int) -> float | None:
    """Return how long a process has run by the clock that nobody sets, in seconds."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        up = float((_PROC / "uptime").read_text().split()[0])
    except OSError:
        return None
    return up - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def may_open_raw() -> bool:
    """Return whether this process may open a socket for ESP."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 50).close()
    except OSError:
        return False
    return True
