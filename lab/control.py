"""The control process on a machine of the laboratory, and a client of its API."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lab.commands import LabError, Process, run, wait_for
from lab.netns import Namespace
from lab.twinspan import ROOT

Table = dict[str, Any]
TIMEOUT_S = 60.0
KEPT_S = 2.0  # the server closes a connection that is idle for 5 s


class Refused(LabError):
    """The API answers with a problem document (RFC 9457): `problem`, with HTTP's `status`."""

    def __init__(self, status: int, problem: Table) -> None:
        super().__init__(f"{status}: {problem.get('code')}: {problem.get('detail')}")
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code"))


class Unanswered(LabError):
    """The process is not there, or went away before it answered."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """A client as root has it at the Unix socket; one connection, used again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _UnixConnection(path)
        self._used_at = 0.0

    def __del__(self) -> None:
        self._connection.close()

    def get(self, path: str, **query: object) -> Table:
        """Return the answer of `GET /v1/PATH`. Raises Refused, Unanswered."""
        return self.ask("GET", path, None, query)

    def all(self, path: str, **query: object) -> list[Table]:
        """Return all resources of a collection, page after page."""
        found: list[Table] = []
        after: Mapping[str, object] = {}
        while True:
            page = self.get(path, limit=1000, **query, **after)
            found += page["items"]
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    def create(self, path: str, **fields: object) -> Table:
        """Return what `POST /v1/PATH` has made."""
        return self.ask("POST", path, fields)

    def change(self, path: str, **fields: object) -> Table:
        """Return a resource after `PATCH /v1/PATH`."""
        return self.ask("PATCH", path, fields)

    def delete(self, path: str) -> None:
        """End a resource."""
        self.ask("DELETE", path)

    def do(self, path: str, **query: object) -> Table:
        """Return the answer of a verb, `POST /v1/PATH` without a body."""
        return self.ask("POST", path, None, query)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Table:
        """Return the JSON object of an answer, empty if it has none. Raises Refused, Unanswered."""
        target = f"/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        sent = json.dumps(body).encode() if body is not None else None
        head = {"Content-Type": "application/json"} if body is not None else {}
        if time.monotonic() - self._used_at > KEPT_S:
            self._connection.close()
        self._used_at = time.monotonic()
        try:
            self._connection.request(method, target, sent, {**head, **(headers or {})})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unanswered(f"{method} {target}: {error}") from error
        found = json.loads(text) if text else {}
        if answer.status >= 400:
            raise Refused(answer.status, found)
        assert isinstance(found, dict)
        return found


class Control:
    """
    One `twinspan control` with its store in the lab's directory, or in `store`.

    Several with one `store` of etcd and one `key_file` are a control plane that outlives any of
    them.
    """

    def __init__(
        self,
        machine: Namespace,
        *options: str,
        store: str | None = None,
        key_file: Path | None = None,
    ) -> None:
        self.machine = machine
        self.directory = machine.lab.directory / f"{machine.name}-control"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.store = store or f"sqlite:{self.directory / 'control.db'}"
        self.key_file = key_file or self.directory / "master.key"
        self.socket = self.directory / "control.sock"
        self._options = options
        self._process: Process | None = None
        self._starts = 0
        self._run("init", *self._places())

    def api(self) -> Api:
        """Return a client, one for each thread."""
        return Api(self.socket)

    def start(self, timeout_s: float = 20.0) -> Control:
        """Start the process and wait until it is ready. Raises LabError with its log."""
        self._starts += 1
        words = (*self._argv(), *self._places(), "--socket", str(self.socket), *self._options)
        self._process = self.machine.start(
            f"control{self._starts}", *words, env={"PYTHONPATH": str(ROOT)}
        )
        wait_for(f"control in {self.machine.name}", self._answers, timeout_s)
        return self

    def _answers(self) -> bool:
        if self._process is None or not self._process.is_alive:
            raise LabError(f"control in {self.machine.name} ended:\n{self.log_text()[-3000:]}")
        try:
            self.api().get("border-gateways")
        except Unanswered:
            return False
        return True

    @property
    def pid(self) -> int:
        """Return the pid of the process."""
        if self._process is None:
            raise LabError(f"control in {self.machine.name} was not started")
        return self._process.pid

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.stop(timeout_s)

    def kill(self) -> None:
        """End the process as a crash would."""
        if self._process is not None:
            self._process.kill()

    def log_text(self) -> str:
        """Return what the process of the last start has logged."""
        return self._process.log.read_text(errors="replace") if self._process else ""

    def _places(self) -> Sequence[str]:
        return ("--store", self.store, "--key-file", str(self.key_file))

    def _argv(self) -> list[str]:
        return [sys.executable, "-m", "gateway", "control"]

    def _run(self, *words: str) -> str:
        return run(*self.machine.argv("env", f"PYTHONPATH={ROOT}", *self._argv(), *words))
