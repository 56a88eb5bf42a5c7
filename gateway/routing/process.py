"""
The BIRD process: begun, found again, watched, ended.

It has a session of its own and goes on when the gateway process ends; the next one finds it by its
pid file and its command line. Watching is by a pidfd, which works for a process that is no child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.errors import ConfigError
from gateway.routing.replies import BirdError
from gateway.rtnl import rtnetlink_socket

CONF, SOCKET, PID, LOG = "bird.conf", "bird.sock", "bird.pid", "bird.log"
OLDEST, OLDEST_AO = (2, 0, 12), (2, 17)
CHECK_S = 30.0  # a document of 1,000 connections takes under a second

PLACES = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"  # not a daemon's PATH: it lacks them


def find_bird(places: str = PLACES) -> str:
    """Return where the BIRD program is. Raises ConfigError with the package that has it."""
    found = shutil.which("bird", path=places)
    if found is None:
        text = (
            "BGP and direct lines need the program bird, which is not here: apt-get install bird2"
        )
        raise ConfigError([text])
    return found


async def _run(*argv: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), CHECK_S)
    except TimeoutError:
        child.kill()
        await child.wait()
        return -1, f"{argv[0]} does not end"
    return child.returncode or 0, output.decode("utf-8", "replace").strip()


async def check_version(
    binary: str, oldest: tuple[int, ...] = OLDEST, what: str = "BGP and direct lines need"
) -> None:
    """Raise ConfigError if this BIRD is older than what our configuration needs."""
    _, output = await _run(binary, "--version")
    words = output.split()
    version = words[-1] if words else ""
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    if not numbers or numbers < oldest:
        least = ".".join(str(number) for number in oldest)
        text = f"{what} BIRD {least} or later; {binary} says {output[:80]!r}"
        raise ConfigError([text])


async def check_conf(binary: str, conf: Path) -> None:
    """Raise BirdError with BIRD's words if it does not accept a configuration file."""
    status, output = await _run(binary, "-p", "-c", str(conf))
    if status != 0:
        raise BirdError(f"BIRD refuses its configuration: {output[-500:]}")


@dataclass(frozen=True, slots=True)
class BirdFiles:
    """The files of one BIRD, all in one directory that only we can read."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / CONF

    @property
    def socket(self) -> Path:
        return self.directory / SOCKET

    @property
    def pid(self) -> Path:
        return self.directory / PID

    @property
    def log(self) -> Path:
        return self.directory / LOG

    def write_conf(self, name: str, text: str) -> Path:
        """Write a configuration, which may hold passwords, under `name`; return its path."""
        file = self.directory / name
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        return file

    def remove(self) -> None:
        """Remove all but the log, when BIRD has ended for good."""
        for file in (self.conf, self.socket, self.pid):
            file.unlink(missing_ok=True)


class Place(Protocol):
    """A network namespace in which a BIRD can run."""

    def start_bird(self, binary: str, files: BirdFiles, *, recover: bool) -> BirdProcess:
        """Start BIRD there, as `spawn` does. Raises OSError, GatewayError."""
        ...

    def rtnetlink(self) -> socket.socket:
        """Return a new rtnetlink socket of it. Raises OSError, GatewayError."""
        ...

    def holds(self, pid: int) -> bool:
        """Return whether a process is there, or it can not be told."""
        ...


class BirdProcess:
    """A BIRD that runs, or ran."""

    def __init__(self, pid: int) -> None:
        """Watch process `pid`. Raises ProcessLookupError."""
        self.pid = pid
        self.exit_text = ""
        self._pidfd = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._has_ended)

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    async def wait_ended(self) -> None:
        await self._ended.wait()

    def kill(self) -> None:
        """End it as a crash would: its routes stay in the kernel."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def forget(self) -> None:
        """Stop watching; it goes on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(ChildProcessError):  # a process of an earlier gateway's
            _, status = os.waitpid(self.pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status)
            self.exit_text = f"signal {-code}" if code < 0 else f"exit status {code}"
        self._ended.set()


def argv_of(binary: str, files: BirdFiles, *, recover: bool) -> list[str]:
    """
    Return the command that runs BIRD on the configuration in `files`.

    With `recover` the routes that an earlier BIRD left in the kernel stay until it knows better.
    """
    argv = [binary, "-f", "-c", str(files.conf), "-s", str(files.socket), "-P", str(files.pid)]
    return argv + (["-R"] if recover else [])


def spawn(binary: str, files: BirdFiles, *, recover: bool) -> BirdProcess:
    """Start BIRD as `argv_of` says. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        binary,
        argv_of(binary, files, recover=recover),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(files.log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE],
    )
    return BirdProcess(pid)


def find_running(files: BirdFiles) -> BirdProcess | None:
    """Return the BIRD that an earlier gateway process has left running on `files`, if any."""
    try:
        pid = int(files.pid.read_text())
        if pid <= 1:
            return None
        found = BirdProcess(pid)
        # Read after the pidfd is held: what is read is of the very process that is watched.
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    if os.fsencode(files.conf) in words and found.is_alive:
        return found
    found.forget()
    return None


class Here:
    """The network namespace that this process is in."""

    def start_bird(self, binary: str, files: BirdFiles, *, recover: bool) -> BirdProcess:
        return spawn(binary, files, recover=recover)

    def rtnetlink(self) -> socket.socket:
        return rtnetlink_socket()

    def holds(self, pid: int) -> bool:
        return namespace_of(pid) in (None, namespace_of(os.getpid()))


def namespace_of(pid: int) -> int | None:
    """Return the inode of a process's network namespace, None if we are not told."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


HERE = Here()
