"""A real etcd on loopback ports of its own, which tests kill and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

START_S = 10.0


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Etcd:
    """One member of a cluster; `peers` are all members' peer ports by name."""

    def __init__(self, folder: Path, name: str, port: int, peers: dict[str, int]) -> None:
        self._folder = folder
        self._name = name
        self._port = port
        self._peers = peers
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the process and return at once."""
        client, peer = f"http://{self.target}", f"http://127.0.0.1:{self._peers[self._name]}"
        cluster = ",".join(f"{n}=http://127.0.0.1:{p}" for n, p in self._peers.items())
        options = {
            "name": self._name,
            "data-dir": self._folder / self._name,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": cluster,
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "logger": "zap",
        }
        with (self._folder / f"{self._name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["etcd", *(f"--{key}={value}" for key, value in options.items())],
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Return when it takes connections."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / f"{self._name}.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self._port), 1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"etcd {self._name} does not start")

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def make_cluster(folder: Path, size: int) -> list[Etcd]:
    """Return the members of a new cluster, started."""
    ports = free_ports(2 * size)
    peers = {f"m{number}": ports[size + number] for number in range(size)}
    members = [
        Etcd(folder, name, port, peers) for name, port in zip(peers, ports[:size], strict=True)
    ]
    for member in members:
        member.start()
    for member in members:
        member.wait()
    return members
