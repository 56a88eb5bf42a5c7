"""Running programs, with a bound on everything: each call has a timeout, each wait a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")
PATIENCE = 3  # a machine that does other work may take so many times as long, at no cost


def end_cleanly() -> None:
    """Let SIGTERM end this program through its `with` blocks, so that nothing is left behind."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def go_first() -> None:
    """
    Let this program and all that it starts go before others on a busy machine, where permitted.

    The gateway's unit has the same: BFD that waits for the CPU loses paths that are well.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


class LabError(Exception):
    """A program failed, or something did not happen in time; the text has the program's words."""


def run(
    *argv: str,
    timeout_s: float = 90.0,
    text: str | None = None,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> str:
    """Return what the program writes to standard output. Raises LabError if it fails or hangs."""
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=env,
            stdin=subprocess.DEVNULL if text is None else None,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)}: no end after {timeout_s} s") from error
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {words}")
    return done.stdout


def wait_for(
    what: str, question: Callable[[], T | None], timeout_s: float, every_s: float = 0.05
) -> T:
    """
    Return the first answer of `question` that is neither None nor False.

    `timeout_s` is enough on a machine that does nothing else, and no bound that is promised: see
    `wait_within`. Raises LabError after PATIENCE times that.
    """
    return wait_within(what, question, PATIENCE * timeout_s, every_s)


def wait_within(
    what: str, question: Callable[[], T | None], most_s: float, every_s: float = 0.05
) -> T:
    """Return what `wait_for` does. Raises LabError after `most_s`, which is what is promised."""
    end = time.monotonic() + most_s
    while True:
        answer = question()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise LabError(f"waited {most_s} s in vain for {what}")
        time.sleep(every_s)


@dataclass(slots=True)
class Process:
    """A program that runs until it is stopped. Its output goes to `log`."""

    child: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.child.pid

    @property
    def is_alive(self) -> bool:
        """Say whether the program still runs."""
        return self.child.poll() is None

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the program to end (SIGTERM), then make it (SIGKILL)."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the program at once (SIGKILL), as a crash would."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(5.0)

    def wait(self, timeout_s: float) -> int:
        """Return the exit status. Raises LabError as `wait_for` if the program does not end."""
        most_s = PATIENCE * timeout_s
        try:
            return self.child.wait(most_s)
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"{self.child.args!r}: no end after {most_s} s\n{self.tail()}"
            ) from error

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
    """
    Start a program in the background; its output replaces `log`.

    It has a session of its own, as systemd gives one to each service: the kernel shares the CPUs
    between sessions.
    """
    out: IO[bytes]
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    return Process(child, log)
