"""The console of a laboratory's control process, for a browser on this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from pathlib import Path

from lab.commands import start, wait_for
from lab.control import Api
from lab.netns import Lab
from lab.twinspan import ROOT

CONSOLE_USER = "demo"
RELAY_PID = "relay.pid"
PORT = 8080  # of the control process, and here if it is free


def open_console(lab: Lab) -> tuple[int, str]:
    """Make an admin and a way to the control process; return the port here and the password."""
    password = secrets.token_urlsafe(12)
    api = Api(lab.directory / "control-control/control.sock")
    api.create("users", name=CONSOLE_USER, password=password, scope="admin", tenant="")
    port = _free_port()
    words = (lab.namespaces["control"].netns, str(port), str(PORT))
    log = lab.directory / "relay.log"
    relay = start([sys.executable, "-m", "lab.relay", *words], log, {"PYTHONPATH": str(ROOT)})
    (lab.directory / RELAY_PID).write_text(str(relay.pid))
    wait_for("the console", lambda: _listens(port), 5.0)
    return port, password


def close_console(directory: Path) -> None:
    """End what `open_console` has left running, of the laboratory in that directory."""
    try:
        pid = int((directory / RELAY_PID).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"lab.relay" in words:  # a number that another process has by now is left alone
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return


def _free_port() -> int:
    for port in (PORT, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as sock:
                return int(sock.getsockname()[1])
        except OSError:
            continue
    raise AssertionError("there is always a free port")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
