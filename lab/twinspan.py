"""Our own gateway in a namespace: its document, its process, its command line."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli.client import Refused, Unreachable, ask
from lab.commands import LabError, Process, run, wait_for
from lab.netns import Namespace

ROOT = Path(__file__).resolve().parent.parent
Value = str | int | float | bool | Sequence[str]
Json = Mapping[str, "object"]
Row = dict[str, Any]
_REPLACED = ("deleting", "lingering")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One VPN Tunnel of the document; `settings` are further keys of it."""

    name: str
    local: str
    remote: str | None  # None: any address
    inner: str  # the /30 or /126; `inner_local` in the settings says which address is ours
    psk: str
    settings: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connection:
    """One VPN Connection, its Customer Gateway, its tunnels; `settings` are for all of them."""

    name: str
    remote_cidrs: Sequence[str]
    tunnels: Sequence[Tunnel]
    settings: Mapping[str, Value] = field(default_factory=dict)
    customer: Mapping[str, Value] = field(default_factory=dict)
    rules: Sequence[tuple[Sequence[str], Sequence[str]]] = ()  # of policy routing: ours, theirs

    def toml(self) -> str:
        """Return the tables of the connection, its Customer Gateway and its tunnels."""
        return _connection(self)


@dataclass(frozen=True, slots=True)
class Document:
    """The wanted document of one gateway."""

    name: str
    public: Sequence[str]
    cidrs: Sequence[str]
    connections: Sequence[Connection]
    workers: int | None = None
    gateway: Mapping[str, Value] = field(default_factory=dict)
    border: Mapping[str, Value] = field(default_factory=dict)
    more: str = ""  # further tables as text

    def toml(self) -> str:
        """Return the document as the gateway reads it."""
        gateway = {"name": self.name, "public_addresses": self.public, **self.gateway}
        if self.workers is not None:
            gateway["workers"] = self.workers
        attachment = {
            "name": "vpc",
            "border_gateway": "main",
            "interface": "lan",
            "cidrs": self.cidrs,
        }
        parts = [
            table("[gateway]", gateway),
            table("[[border_gateway]]", {"name": "main", "asn": 65000, **self.border}),
            table("[[vpc_attachment]]", attachment),
        ]
        return "\n".join([*parts, *(each.toml() for each in self.connections), self.more])


def table(head: str, values: Mapping[str, Value]) -> str:
    """Return a table of a document as text."""
    # JSON's strings, numbers, booleans and arrays of strings are TOML's too.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([head, *lines, ""])


def _connection(connection: Connection) -> str:
    remotes = list(dict.fromkeys(each.remote for each in connection.tunnels if each.remote))
    customer = {
        "name": connection.name,
        "public_addresses": remotes or "any",
        **connection.customer,
    }
    settings = {
        "name": connection.name,
        "border_gateway": "main",
        "customer_gateway": connection.name,
        "routing": "static",
        "remote_cidrs": connection.remote_cidrs,
        **connection.settings,
    }
    rules = [
        table("[[vpn_connection.rule]]", {"local_cidrs": local, "remote_cidrs": remote})
        for local, remote in connection.rules
    ]
    tunnels = [_tunnel(tunnel) for tunnel in connection.tunnels]
    return "\n".join(
        [
            table("[[customer_gateway]]", customer),
            table("[[vpn_connection]]", settings),
            *rules,
            *tunnels,
        ]
    )


def _tunnel(tunnel: Tunnel) -> str:
    values: dict[str, Value] = {
        "name": tunnel.name,
        "local_address": tunnel.local,
        "inner_cidr": tunnel.inner,
        "psk": tunnel.psk,
        **tunnel.settings,
    }
    if tunnel.remote is not None:
        values["remote_address"] = tunnel.remote
    return table("[[vpn_connection.tunnel]]", values)


@dataclass(frozen=True, slots=True)
class TunnelView:
    """A tunnel as `twinspan status --json` shows it; `raw` is all of it."""

    name: str
    interface: str
    status: str
    reason: str  # code, or ""
    in_packets: int
    out_packets: int
    drops: Mapping[str, int]
    raw: Json

    @property
    def is_up(self) -> bool:
        """Say whether it carries traffic."""
        return self.status == "up"

    @property
    def spis(self) -> tuple[object, ...]:
        """
        Return the inbound SPIs of its Child SAs, without those that were replaced: they open late
        packets for some seconds.
        """
        return tuple(one["spi_in"] for one in self._children() if one["state"] not in _REPLACED)

    @property
    def all_spis(self) -> tuple[object, ...]:
        """Return the inbound SPIs of all its Child SAs."""
        return tuple(one["spi_in"] for one in self._children())

    def _children(self) -> Sequence[Json]:
        return _tables(self.raw["children"])


class Twinspan:
    """One `twinspan gateway`, with its data plane process."""

    def __init__(
        self, machine: Namespace, document: Document | str, *, shows_namespaces: bool = False
    ) -> None:
        """
        Write the document; `shows_namespaces`: those that the gateway makes are seen outside too.
        """
        self.machine = machine
        self._shows_namespaces = shows_namespaces
        self.directory = machine.lab.directory / f"{machine.name}-twinspan"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.config = self.directory / "gateway.toml"
        self.write(document)
        self._process: Process | None = None
        self._starts = 0

    def write(self, document: Document | str) -> None:
        """Replace the file, by what it is to say or its text; read at start or `reload`."""
        self._document = document
        self.config.write_text(document if isinstance(document, str) else document.toml())
        self.config.chmod(0o600)

    @property
    def document(self) -> Document:
        """Return what was written; not for one that was written as text."""
        assert isinstance(self._document, Document)
        return self._document

    def start(self, timeout_s: float = 15.0, options: Sequence[str] = ()) -> Twinspan:
        """
        Start the gateway, with further options, and wait until it answers `status`. Raises LabError
        with its log.
        """
        self._starts += 1
        self._process = self.machine.start(
            f"twinspan{self._starts}",
            *self._argv("gateway", *self._source(), "--runtime-dir", str(self.directory), *options),
            env={"PYTHONPATH": str(ROOT), "TWINSPAN_RUNTIME_DIR": str(self.directory)},
            shares_mounts=self._shows_namespaces,
        )
        wait_for(f"twinspan in {self.machine.name}", self._answers, timeout_s, every_s=0.03)
        return self

    def _source(self) -> Sequence[str]:
        """Return the options that say where its document comes from."""
        return ("--config", str(self.config))

    def _argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gateway", *words]

    def _answers(self) -> bool:
        process = self._process
        if process is None or not process.is_alive:
            raise LabError(f"twinspan in {self.machine.name} ended:\n{self.log_text()[-3000:]}")
        return self.answers()

    @property
    def pid(self) -> int:
        """Return the pid of the gateway process (not the data plane's)."""
        if self._process is None:
            raise LabError(f"twinspan in {self.machine.name} was not started")
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Say whether the gateway process runs."""
        return self._process is not None and self._process.is_alive

    def pids(self) -> list[int]:
        """Return the pids of the gateway process and of the data plane."""
        return [pid for pid in self.machine.pids() if _is_ours(pid)]

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the gateway process alone; the data plane goes on."""
        if self._process is not None:
            self._process.stop(timeout_s)

    def kill(self) -> None:
        """End the gateway process as a crash would; the data plane goes on."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """Stop everything: SAs are deleted with the peers, the data plane ends."""
        if self.is_alive:
            self.cli("stop", check=False)
            wait_for("twinspan to end", lambda: not self.is_alive, 10.0)
        for pid in self.pids():
            os.kill(pid, signal.SIGTERM)

    def cli(self, *words: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Return what a `twinspan` command prints."""
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TWINSPAN_RUNTIME_DIR": str(self.directory),
            "COLUMNS": "200",
        }
        return run(*self._argv(*words), env=env, check=check, timeout_s=timeout_s)

    @property
    def vici(self) -> str:
        """Return the URI of its VICI socket."""
        return f"unix://{self.directory / 'vici.sock'}"

    def swanctl(self, *words: str, check: bool = True) -> str:
        """Return what strongSwan's swanctl prints for this gateway."""
        return run("swanctl", *words, "--uri", self.vici, check=check, timeout_s=40.0)

    def status(self) -> Json:
        """Return the status document."""
        return self._asked("status")[0]

    def _asked(self, command: str, **arguments: object) -> list[Json]:
        """
        Return what the gateway's socket answers: what the command line prints as JSON, without a
        program for each question. Who waits asks often, and what is measured shares the CPU.
        """
        try:
            found = list(ask(self.directory, {"command": command, **arguments}))
        except (Unreachable, Refused) as error:
            raise LabError(f"{command}: {error}") from error
        if not found:
            raise LabError(f"{command}: no answer")
        return [dict(each) for each in found if isinstance(each, dict)]

    def bgp(self) -> list[Row]:
        """Return the BGP sessions, as `twinspan bgp --json` has them."""
        return _tables(self._asked("bgp")[0]["peers"])

    def routes(self) -> list[Row]:
        """Return the routes, as `twinspan routes --json` has them."""
        return _tables(self._asked("routes")[0]["routes"])

    def connections(self) -> list[Row]:
        """Return the VPN Connections of the status."""
        return _tables(self.status()["connections"])

    def answers(self) -> bool:
        """Say whether the process answers."""
        try:
            return bool(self.status())
        except LabError:
            return False

    def tunnels(self) -> dict[str, TunnelView]:
        """Return the tunnels by the name that people call them."""
        listed = _tables(self.status()["tunnels"])
        return {str(each.get("title") or each["name"]): _view(each) for each in listed}

    def events(self, tunnel: str | None = None) -> list[Json]:
        """Return the events of the gateway, or of one tunnel, the oldest first."""
        chosen = {"tunnel": tunnel} if tunnel is not None else {}
        return self._asked("events", lines=1000, follow=False, **chosen)

    def wait_up(self, *names: str, timeout_s: float = 20.0) -> None:
        """Wait until these tunnels (all, if none is named) are up. Raises LabError with the log."""

        def all_up() -> bool:
            tunnels = self.tunnels()
            return all(tunnels[name].is_up for name in names or tunnels)

        try:
            wait_for(f"tunnels {names or 'all'}", all_up, timeout_s)
        except LabError as error:
            raise LabError(f"{error}\n{self.log_text()[-4000:]}") from error

    def spis(self) -> set[object]:
        """Return the inbound SPIs of all its Child SAs."""
        return {spi for tunnel in self.tunnels().values() for spi in tunnel.spis}

    def wait_renewed(self, before: set[object], timeout_s: float = 40.0) -> None:
        """Wait until every tunnel is up by Child SAs alone that are none of those before."""

        def renewed() -> bool:
            tunnels = self.tunnels().values()
            return all(
                tunnel.is_up and tunnel.spis and before.isdisjoint(tunnel.spis)
                for tunnel in tunnels
            )

        wait_for(f"new Child SAs in {self.machine.name}", renewed, timeout_s)

    def log_text(self) -> str:
        """Return what the gateway of the last start has logged."""
        return self._process.log.read_text(errors="replace") if self._process else ""


def _tables(value: object) -> list[Row]:
    assert isinstance(value, list)
    return value


def _is_ours(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool({b"gateway", b"gateway.dataplane.process", b"gateway.netns.process"} & {*words})


def _view(raw: Mapping[str, object]) -> TunnelView:
    reason, drops = raw.get("reason"), raw.get("drops")
    return TunnelView(
        name=str(raw["name"]),
        interface=str(raw["interface"]),
        status=str(raw["status"]),
        reason=str(reason["code"]) if isinstance(reason, dict) else "",
        in_packets=_count(raw, "in_packets"),
        out_packets=_count(raw, "out_packets"),
        drops={str(key): int(value) for key, value in drops.items()}
        if isinstance(drops, dict)
        else {},
        raw=raw,
    )


def _count(raw: Mapping[str, object], key: str) -> int:
    value = raw[key]
    assert isinstance(value, int)
    return value
