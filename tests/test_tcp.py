"""The laboratory's TCP connection: what it says of one that lives, and of one that is ended."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

from lab import tcp
from lab.commands import Process, start, wait_for

PROGRAM = [sys.executable, "-I", str(Path(tcp.__file__))]


def begun(process: Process) -> bool:
    return "begun" in process.log.read_text()


def both_ends(tmp_path: Path) -> tuple[Process, Process, Path]:
    """Start both ends on loopback, and return them with the speaker's record."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    record = tmp_path / "record.json"
    other = start([*PROGRAM, "answer", port], tmp_path / "answer.log")
    wait_for("the answerer", lambda: begun(other), 10.0)
    speaker = start([*PROGRAM, "speak", "127.0.0.1", port, str(record)], tmp_path / "speak.log")
    wait_for("the connection", lambda: begun(speaker), 10.0)
    return other, speaker, record


def test_every_word_of_a_connection_that_lives_is_heard_again(tmp_path: Path) -> None:
    other, speaker, record = both_ends(tmp_path)
    speaker.child.send_signal(signal.SIGTERM)
    assert speaker.wait(15.0) == 0
    other.stop()
    seen = json.loads(record.read_text())
    assert (seen["said"], seen["error"]) == (seen["heard"], "")
    assert seen["said"] > 0


def test_a_connection_that_is_ended_is_told(tmp_path: Path) -> None:
    other, speaker, record = both_ends(tmp_path)
    other.kill()
    assert speaker.wait(15.0) == 0
    assert json.loads(record.read_text())["error"]
