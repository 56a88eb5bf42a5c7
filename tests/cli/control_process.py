"""A real control process on a Unix socket, for the tests of the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from gateway.cli import app

READY_S = 60.0  # a machine that runs everything else at once
TWINSPAN = (sys.executable, "-m", "gateway")


@dataclass(frozen=True, slots=True)
class Control:
    """The process, and commands that speak with it."""

    place: Path
    process: subprocess.Popen[bytes]
    url: str  # on loopback, where a token is needed

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which commands find it."""
        return {
            "TWINSPAN_URL": f"unix:{self.place / 'control.sock'}",
            "TWINSPAN_RUNTIME_DIR": str(self.place),
            "TWINSPAN_CONTEXTS": str(self.place / "contexts.toml"),
            "TWINSPAN_TENANT": "",
        }

    def run(self, *words: str, stdin: str = "", environ: Mapping[str, str] = {}) -> Result:
        """Run a command in this process."""
        return CliRunner().invoke(
            app, list(words), env={**self.environ, **environ}, input=stdin, catch_exceptions=False
        )

    def done(self, *words: str) -> str:
        """Return what a command prints that succeeds."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str) -> dict[str, object]:
        """Return the answer of a command that succeeds."""
        answer = json.loads(self.done(*words, "-o", "json"))
        assert isinstance(answer, dict)
        return answer


@contextlib.contextmanager
def control(place: Path, *more: str) -> Iterator[Control]:
    """Run a control process with an empty store, and with more options."""
    options = ["--store", f"sqlite:{place / 'control.db'}", "--key-file", str(place / "master.key")]
    subprocess.run([*TWINSPAN, "control", "init", *options], check=True, capture_output=True)
    words = [*options, "--socket", str(place / "control.sock"), "--listen", "127.0.0.1:0", *more]
    process = subprocess.Popen(
        [*TWINSPAN, "control", *words],
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("TWINSPAN_")},
    )
    try:
        yield Control(place, process, _wait_ready(process))
    finally:
        process.terminate()
        process.communicate(timeout=READY_S)


def _wait_ready(process: subprocess.Popen[bytes]) -> str:
    """Return the URL that the process says it listens at."""
    assert process.stderr is not None
    said = b""
    while b"control ready" not in said:
        readable, _, _ = select.select([process.stderr], [], [], READY_S)
        more = os.read(process.stderr.fileno(), 65536) if readable else b""
        assert more, said.decode()
        said += more
    port = re.search(rb"127\.0\.0\.1:(\d+)", said)
    assert port is not None, said.decode()
    return f"http://127.0.0.1:{port[1].decode()}"
