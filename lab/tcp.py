"""
One TCP connection that talks all the time: does it survive, and how long did it hear nothing?

Run as a program it is one of its two ends, the one that answers until it is killed, or the one that
speaks until SIGTERM and then writes its record:

    tcp.py answer PORT
    tcp.py speak ADDRESS PORT FILE
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.commands import Process
    from lab.netns import Namespace

_WORD = struct.Struct("!Q")
_PERIOD_S = 0.02
_LAST_S = 10.0  # for what is still on its way when the end is asked for


@dataclass(slots=True)
class Talk:
    """A connection that talks; the rest is known when it has ended."""

    speaker: Process
    said: int = 0
    heard: int = 0  # answers, in order
    silence_s: float = 0.0  # longest time between two answers
    error: str = ""


@contextmanager
def talk(speaker: Namespace, answerer: Namespace, address: str, port: int = 7019) -> Iterator[Talk]:
    """
    Keep a connection talking to `address` of `answerer` while the block runs, then say how it went.

    Raises LabError if it can not be begun.
    """
    from lab.commands import wait_for

    program = [sys.executable, "-I", str(Path(__file__).resolve())]
    file = speaker.lab.directory / f"{speaker.name}-talk{port}.json"
    other = answerer.start(f"answer{port}", *program, "answer", str(port))
    try:
        wait_for("the answerer", lambda: "begun" in other.log.read_text(), 10.0)
        process = speaker.start(f"speak{port}", *program, "speak", address, str(port), str(file))
        wait_for("the connection", lambda: "begun" in process.log.read_text(), 10.0)
        made = Talk(process)
        yield made
        process.child.send_signal(signal.SIGTERM)
        process.wait(_LAST_S + 5.0)
        seen = json.loads(file.read_text())
        made.said, made.heard = seen["said"], seen["heard"]
        made.silence_s, made.error = seen["silence_s"], seen["error"]
    finally:
        other.kill()


def _answer(port: int) -> None:
    with socket.create_server(("0.0.0.0", port)) as server:  # noqa: S104  # a lab's own machine
        print("begun", flush=True)
        link, _ = server.accept()
        with link:
            while words := link.recv(4096):
                link.sendall(words)


def _speak(address: str, port: int, file: Path) -> None:
    with socket.create_connection((address, port), timeout=5.0) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        speaker = _Speaker(link)
        print("begun", flush=True)
        try:
            speaker.run()
        except (OSError, ValueError) as error:
            speaker.error = str(error)
    record = {"said": speaker.said, "heard": speaker.heard}
    file.write_text(json.dumps({**record, "silence_s": speaker.silence_s, "error": speaker.error}))


class _Speaker:
    """Says a number every now and then, and hears each again."""

    def __init__(self, link: socket.socket) -> None:
        self.said = self.heard = 0
        self.silence_s, self.error = 0.0, ""
        self._link = link
        self._left = b""
        self._heard_at = self._say_at = time.monotonic()
        self._end_at: float | None = None
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, _number: int, _frame: object) -> None:
        self._end_at = time.monotonic() + _LAST_S

    def run(self) -> None:
        """Go on until SIGTERM and the last answer. Raises OSError, ValueError."""
        self._say()
        while self._end_at is None or (self.heard < self.said and time.monotonic() < self._end_at):
            if self._end_at is None and time.monotonic() >= self._say_at:
                self._say()
            if select.select([self._link], [], [], _PERIOD_S / 4)[0]:
                self._hear()

    def _say(self) -> None:
        self._link.sendall(_WORD.pack(self.said))
        self.said += 1
        self._say_at += _PERIOD_S

    def _hear(self) -> None:
        words = self._link.recv(4096)
        if not words:
            raise OSError("closed by the other end")
        now = time.monotonic()
        self.silence_s = max(self.silence_s, now - self._heard_at)
        self._heard_at, self._left = now, self._left + words
        while len(self._left) >= _WORD.size:
            (number,) = _WORD.unpack_from(self._left)
            if number != self.heard:
                raise ValueError(f"heard {number} instead of {self.heard}")
            self.heard, self._left = self.heard + 1, self._left[_WORD.size :]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["answer", port]:
            _answer(int(port))
        case ["speak", address, port, name]:
            _speak(address, int(port), Path(name))
        case _:
            sys.exit(__doc__)
