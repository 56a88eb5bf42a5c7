"""
Network namespaces, the wires between them, and their removal.

A `Lab` owns everything it made: namespaces (all named `PREFIX-NAME`), processes, one directory for
files. `close()` removes all of it, in any state; a lab whose process died is removed by
`remove(prefix)`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.commands import LabError, Process, run, start, wait_for

_NETNS = Path("/run/netns")
_SYSCTL = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    # Addresses are unique here, so they are usable at once.
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    # Raw sockets and pings must not be slowed by the host's rate limits.
    "net.ipv4.icmp_ratelimit=0",
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """One machine of the laboratory."""

    lab: Lab
    name: str  # short, as in the pictures

    @property
    def netns(self) -> str:
        """Return the name under which `ip netns` knows it."""
        return f"{self.lab.prefix}-{self.name}"

    def argv(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` here; its pid is that of `argv` (it execs)."""
        return ["ip", "netns", "exec", self.netns, *argv]

    def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        text: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Return the output of a program that runs here to its end."""
        return run(*self.argv(*argv), timeout_s=timeout_s, text=text, check=check, env=env)

    def ip(self, *argv: str) -> str:
        """Return the output of `ip` for this namespace."""
        return run("ip", "-n", self.netns, *argv)

    def start(
        self,
        log: str,
        *argv: str,
        env: Mapping[str, str] | None = None,
        shares_mounts: bool = False,
    ) -> Process:
        """
        Start a program here; it ends with the lab at the latest.

        With `shares_mounts` what it mounts, as names of namespaces, is seen by others too.
        """
        command = self.argv(*argv)
        if shares_mounts:  # `ip netns exec` gives a program mounts of its own
            command = ["nsenter", f"--net={_NETNS / self.netns}", *argv]
        process = start(command, self.lab.directory / f"{self.name}-{log}.log", _environ(env))
        self.lab.processes.append(process)
        return process

    def pids(self) -> list[int]:
        """Return the processes that run here."""
        return [int(word) for word in run("ip", "netns", "pids", self.netns).split()]

    def sysctl(self, *settings: str) -> None:
        """Set kernel parameters of this namespace."""
        self.run("sysctl", "-qw", *settings)

    def address(self, device: str, *addresses: str) -> None:
        """Add addresses with prefix length to a device and set it up."""
        self.ip("link", "set", device, "up")
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.ip("addr", "add", address, "dev", device, *nodad)

    def addresses(self, device: str, addresses: Sequence[str]) -> None:
        """Add many addresses with prefix length to a device, in one go."""
        text = "".join(f"addr add {address} dev {device}\n" for address in addresses)
        run("ip", "-n", self.netns, "-batch", "-", text=text)

    def route(self, *words: str) -> None:
        """Add a route; the family follows the addresses."""
        family = ["-6"] if any(":" in word for word in words) else []
        run("ip", *family, "-n", self.netns, "route", "replace", *words)


def _environ(extra: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if extra is None else {**os.environ, **extra}


class Lab:
    """A set of namespaces with all that runs in them. Use it in a `with` block."""

    def __init__(self, prefix: str | None = None, *, keep: bool = False) -> None:
        """
        Make the lab's directory.

        `prefix` must be unique on the machine. With `keep`, leaving the block removes nothing.
        """
        if os.geteuid() != 0:
            raise LabError("the laboratory needs root: it makes network namespaces")
        self.prefix = prefix or f"tw{os.getpid()}"
        self.keep = keep
        self.directory = directory_of(self.prefix)
        self.processes: list[Process] = []
        self.namespaces: dict[str, Namespace] = {}
        self.outside: list[Path] = []  # what processes leave in places of the whole machine
        self.directory.mkdir(mode=0o700)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.keep:
            self.close()

    def namespace(self, name: str) -> Namespace:
        """Make a machine: forwarding on, no reverse path filter, loopback up."""
        made = Namespace(self, name)
        run("ip", "netns", "add", made.netns)
        self.namespaces[name] = made
        made.ip("link", "set", "lo", "up")
        made.sysctl(*_SYSCTL)
        return made

    def wire(
        self,
        left: tuple[Namespace, str, Sequence[str]],
        right: tuple[Namespace, str, Sequence[str]],
        mtu: int = 1500,
    ) -> None:
        """Join two machines by a veth pair, each as (namespace, device, addresses with length)."""
        (a, a_device, a_addresses), (b, b_device, b_addresses) = left, right
        peer = ["peer", "name", b_device, "netns", b.netns]
        a.ip("link", "add", a_device, "mtu", str(mtu), "type", "veth", *peer)
        b.ip("link", "set", b_device, "mtu", str(mtu))
        a.address(a_device, *a_addresses)
        b.address(b_device, *b_addresses)

    def close(self) -> None:
        """End what runs, remove the namespaces and the directory."""
        for process in reversed(self.processes):
            if process.is_alive:
                process.child.kill()
        for process in reversed(self.processes):
            process.kill()
        remove(self.prefix)
        for path in self.outside:
            path.unlink(missing_ok=True)


def directory_of(prefix: str) -> Path:
    """Return the directory of the lab with that prefix."""
    return Path("/run") / f"{prefix}-lab"


def remove(prefix: str) -> None:
    """Remove a lab by its name: the processes in its namespaces, the namespaces, the directory."""
    names = sorted(path.name for path in _NETNS.glob(f"{prefix}-*"))
    # At once: all that they could tidy up goes with the namespaces and the directory.
    for _ in range(3):  # the last words of one may have started another
        if not _kill_all(names):
            break
        _wait_gone(names, 3.0)
    for name in names:
        run("ip", "netns", "del", name, check=False)
    shutil.rmtree(directory_of(prefix), ignore_errors=True)


def _pids(names: Sequence[str]) -> list[int]:
    return [int(pid) for name in names for pid in run("ip", "netns", "pids", name).split()]


def _kill_all(names: Sequence[str]) -> int:
    pids = _pids(names)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _wait_gone(names: Sequence[str], timeout_s: float) -> None:
    with contextlib.suppress(LabError):
        wait_for("processes to end", lambda: not _pids(names), timeout_s, every_s=0.01)
