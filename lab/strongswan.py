"""
A strongSwan peer: charon-systemd without systemd, ESP by kernel-libipsec, driven over vici.

Two environment variables and the vici socket's path keep daemons apart on one machine.
kernel-libipsec stands before kernel-netlink in the list of plugins, because the first to register
serves SAs and policies. Its limits: ESP in UDP only, no ESN, and a local address inside the local
traffic selector is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import vici

from lab.commands import LabError, Process, run, wait_for
from lab.netns import Namespace
from lab.swan_certificates import Certificates, load_certificates, public_pem

_PROGRAM = "/usr/sbin/charon-systemd"
_PLUGINS = (
    "random nonce drbg openssl aes sha1 sha2 hmac kdf gcm ccm ctr cmac chapoly curve25519 gmp x509 "
    "constraints revocation pubkey pkcs1 pkcs8 pem kernel-libipsec kernel-netlink socket-default "
    "vici updown counters"
)


@dataclass(frozen=True, slots=True)
class Child:
    """A Child SA's settings, as swanctl.conf has them."""

    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    esp: str = "aes256gcm16-ecp256"
    rekey_time: str = "1h"
    start_action: str = "none"
    dpd_action: str = "clear"
    close_action: str = "none"
    more: Mapping[str, str] = field(default_factory=dict)  # further settings


@dataclass(frozen=True, slots=True)
class Ppk:
    """A post-quantum pre-shared key (RFC 8784); `required` is "yes" or "no"."""

    id: str
    key: str
    required: str = "no"


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection whose first Child SA has the connection's name."""

    name: str
    local: str
    remote: str
    local_id: str
    remote_id: str
    psk: str
    child: Child
    ike: str = "aes256gcm16-prfsha384-ecp256"
    rekey_time: str = "4h"
    dpd_delay: str = "30s"
    encap: bool = True
    fragmentation: str = "yes"
    keyingtries: str = "1"
    # Twin tunnels may share their identities; INITIAL_CONTACT of one must not end the other.
    unique: str = "never"
    further: Mapping[str, Child] = field(default_factory=dict)  # beside the first, by name
    ppk: Ppk | None = None
    version: str = "2"
    certificates: Certificates | None = None  # in place of `psk`
    more: Mapping[str, object] = field(default_factory=dict)  # further settings


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast charon gives up: first wait in seconds, factor, tries; 26 s by default."""

    timeout_s: float = 2.0
    base: float = 1.5
    tries: int = 4

    def lines(self) -> str:
        """Return it as strongswan.conf says it."""
        return (
            f"retransmit_timeout = {self.timeout_s}\n"
            f"  retransmit_base = {self.base}\n"
            f"  retransmit_tries = {self.tries}\n"
            "  retry_initiate_interval = 2"
        )


@dataclass(frozen=True, slots=True)
class ChildView:
    """A Child SA as charon lists it."""

    name: str
    state: str
    spi_in: str
    spi_out: str
    encr: str
    encap: bool
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int


@dataclass(frozen=True, slots=True)
class SaView:
    """An IKE SA as charon lists it."""

    name: str
    unique_id: str
    state: str
    initiator: bool
    local: str
    remote: str
    remote_port: str
    initiator_spi: str
    suite: str
    children: tuple[ChildView, ...] = field(default=())


class StrongSwan:
    """One charon in a namespace."""

    def __init__(
        self,
        machine: Namespace,
        connections: Sequence[Connection] = (),
        timing: Timing = Timing(),
        log_level: int = 1,
        options: Sequence[str] = (),
        charon_conf: str | None = None,
        tree: Path | None = None,
    ) -> None:
        """
        `options` are further lines of the charon section of strongswan.conf; `charon_conf` is a
        whole file beside it, which says the timing too. With `tree`, the charon in that directory
        runs, of another Debian, in place of the machine's own.
        """
        self.machine = machine
        self._tree = tree
        self._connections = tuple(connections)
        self.directory = machine.lab.directory / f"{machine.name}-strongswan"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._socket = self.directory / "vici.sock"
        self.log = self.directory / "charon.log"
        self._write_conf(
            "" if charon_conf else timing.lines(), log_level, options, charon_conf or ""
        )
        self._process: Process | None = None

    def _write_conf(self, timing: str, log_level: int, options: Sequence[str], more: str) -> None:
        lines = "\n  ".join(options)
        text = f"""{more}
charon-systemd {{
  load = {_PLUGINS}
  threads = 16
  {timing}
  {lines}
  journal {{
    default = -1
  }}
  filelog {{
    main {{
      path = {self.log}
      time_format = %H:%M:%S
      ike_name = yes
      flush_line = yes
      default = {log_level}
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{self._socket}
    }}
  }}
}}
"""
        (self.directory / "strongswan.conf").write_text(text)

    def start(self) -> StrongSwan:
        """Start charon and load the connections. Raises LabError with charon's log."""
        program = [_PROGRAM] if self._tree is None else _in_tree(self._tree, self.directory)
        if not Path(f"{self._tree or ''}{_PROGRAM}").exists():
            raise LabError(f"{_PROGRAM} is missing: install charon-systemd and strongswan-swanctl")
        self._socket.unlink(missing_ok=True)
        env = {
            "STRONGSWAN_CONF": str(self.directory / "strongswan.conf"),
            "SWANCTL_DIR": str(self.directory),
        }
        self._process = self.machine.start("charon", *program, env=env)
        wait_for(f"charon in {self.machine.name}\n{self._words()}", self._answers, 15.0)
        self.load(self._connections)
        return self

    def version(self) -> str:
        """Return charon's version, as in "5.9.8"."""
        with _Session(self._socket) as session:
            return _text(session.version(), "version")

    def _answers(self) -> bool:
        process = self._process
        if process is None or not process.is_alive:
            raise LabError(f"charon in {self.machine.name} ended:\n{self._words()}")
        try:
            with _Session(self._socket) as session:
                session.version()
        except OSError:
            return False
        return True

    def _words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-30:])

    @property
    def pid(self) -> int:
        """Return charon's process id. Raises LabError if it does not run."""
        if self._process is None:
            raise LabError(f"charon in {self.machine.name} was not started")
        return self._process.pid

    def stop(self) -> None:
        """Stop charon; it deletes its SAs with the peers."""
        if self._process is not None:
            self._process.stop(8.0)

    def kill(self) -> None:
        """End charon without a word to the peers, and remove the device it leaves behind."""
        if self._process is not None:
            self._process.kill()

    def load(self, connections: Sequence[Connection]) -> None:
        """Make `connections` the only ones. SAs that exist stay until they are terminated."""
        with _Session(self._socket) as session:
            wanted = {connection.name for connection in connections}
            for name in _texts(session.get_conns().get("conns", [])):
                if name not in wanted:
                    session.unload_conn({"name": name})
            for connection in connections:
                for secret in _secrets(connection):
                    session.load_shared(secret)
                load_certificates(session, connection.certificates)
                session.load_conn({connection.name: _settings(connection)})
        self._connections = tuple(connections)

    def load_text(self, conf: str) -> None:
        """Load what a swanctl.conf says, by swanctl itself. Raises LabError with its words."""
        file = self.directory / "swanctl.conf"
        file.write_text(conf)
        file.chmod(0o600)
        run("swanctl", "--load-all", "--file", str(file), "--uri", f"unix://{self._socket}")

    def initiate(self, child: str, timeout_s: float = 10.0) -> None:
        """Set up a Child SA (and its IKE SA). Raises LabError with charon's log if that fails."""
        self._control("initiate", {"child": child, "timeout": int(timeout_s * 1000)})

    def initiate_all(self, children: Sequence[str]) -> None:
        """Begin to set up Child SAs, all at once; charon goes on with them by itself."""
        with _Session(self._socket) as session:
            for child in children:
                for _ in session.initiate({"child": child, "timeout": -1}):
                    pass

    def established(self) -> int:
        """Return the number of IKE SAs that are not half-open."""
        with _Session(self._socket) as session:
            counted = session.stats()["ikesas"]
        return int(counted["total"]) - int(counted["half-open"])

    def terminate(self, connection: str, timeout_s: float = 10.0) -> None:
        """Delete the IKE SAs of a connection, and wait for the peer's answer."""
        self._control("terminate", {"ike": connection, "timeout": int(timeout_s * 1000)})

    def terminate_child(self, name: str, timeout_s: float = 10.0) -> None:
        """Delete one Child SA, and wait for the peer's answer."""
        self._control("terminate", {"child": name, "timeout": int(timeout_s * 1000)})

    def abandon(self, connection: str) -> None:
        """Drop the IKE SAs of a connection without waiting for the peer."""
        self._control("terminate", {"ike": connection, "force": "yes", "timeout": -1})

    def abandon_all(self) -> None:
        """Drop every IKE SA without waiting for the peers."""
        with _Session(self._socket) as session:
            names = {name for entry in session.list_sas() for name in entry}
        for name in names:
            self.abandon(name)

    def rekey_child(self, name: str) -> None:
        """Start a rekey of a Child SA; it goes on in charon."""
        with _Session(self._socket) as session:
            session.rekey({"child": name})

    def rekey_ike(self, name: str) -> None:
        """Start a rekey of an IKE SA; it goes on in charon."""
        with _Session(self._socket) as session:
            session.rekey({"ike": name})

    def redirect(self, connection: str, gateway: str) -> None:
        """Tell the peers of a connection to go to another gateway (RFC 5685)."""
        self._control("redirect", {"ike": connection, "gateway": gateway})

    def sas(self) -> list[SaView]:
        """Return the IKE SAs."""
        with _Session(self._socket) as session:
            return [
                _sa_view(str(name), sa)
                for entry in session.list_sas()
                for name, sa in entry.items()
            ]

    def children(self, name: str | None = None) -> list[ChildView]:
        """Return the Child SAs that carry traffic (INSTALLED or being rekeyed)."""
        return [
            child
            for sa in self.sas()
            for child in sa.children
            if name in (None, child.name) and child.state in ("INSTALLED", "REKEYING", "REKEYED")
        ]

    def log_text(self) -> str:
        """Return charon's log so far."""
        return self.log.read_text(errors="replace")

    def _control(self, verb: str, arguments: Mapping[str, object]) -> None:
        try:
            with _Session(self._socket) as session:
                for _ in getattr(session, verb)(arguments):
                    pass
        except vici.exception.CommandException as error:
            raise LabError(f"{verb} {arguments}: {error}\n{self._words()}") from error


def _in_tree(tree: Path, directory: Path) -> list[str]:
    """
    Return the command that runs the charon of a Debian tree: `directory` is the same inside, and
    what is mounted for it nobody else sees.
    """
    inside = Path(f"{tree}{directory}")
    inside.mkdir(parents=True, exist_ok=True)
    script = (
        f"mount --rbind /dev {tree}/dev && mount --rbind /proc {tree}/proc"
        f" && mount --bind {directory} {inside} && exec chroot {tree} {_PROGRAM}"
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


class _Session:
    """A vici session with an end."""

    def __init__(self, path: Path) -> None:
        import socket

        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30.0)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> vici.Session:
        return vici.Session(self._socket)

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _texts(values: Sequence[bytes | str]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _ends(connection: Connection) -> dict[str, object]:
    """Return how the two ends of a connection prove their identities."""
    local: dict[str, object] = {"id": connection.local_id}
    remote: dict[str, object] = {"id": connection.remote_id}
    found = connection.certificates
    if found is None:
        return {"local": {**local, "auth": "psk"}, "remote": {**remote, "auth": "psk"}}
    local["auth"], remote["auth"] = found.auth, found.wanted
    if found.own:
        local["certs"] = [found.own[0]]
        remote["cacerts"] = list(found.trusted)
    else:
        local["pubkeys"] = [public_pem(found.key)]
        remote["pubkeys"] = list(found.trusted)
    return {"local": local, "remote": remote, "send_cert": "always"}


def _secrets(connection: Connection) -> list[dict[str, object]]:
    psk: dict[str, object] = {
        "id": f"psk-{connection.name}",
        "type": "IKE",
        "data": connection.psk,
        "owners": [connection.local_id, connection.remote_id],
    }
    if connection.ppk is None:
        return [psk]
    key = bytes.fromhex(connection.ppk.key.removeprefix("0x"))
    ppk = {"id": f"ppk-{connection.name}", "type": "PPK", "data": key}
    return [psk, {**ppk, "owners": [connection.ppk.id]}]


def _settings(connection: Connection) -> dict[str, object]:
    children = {connection.name: connection.child, **connection.further}
    ppk = connection.ppk
    quantum = {} if ppk is None else {"ppk_id": ppk.id, "ppk_required": ppk.required}
    return {
        **quantum,
        "version": connection.version,
        "local_addrs": [connection.local],
        "remote_addrs": [connection.remote],
        "proposals": connection.ike.split(","),
        "encap": "yes" if connection.encap else "no",
        "mobike": "no",
        "fragmentation": connection.fragmentation,
        "dpd_delay": connection.dpd_delay,
        "rekey_time": connection.rekey_time,
        "keyingtries": connection.keyingtries,
        "unique": connection.unique,
        **_ends(connection),
        "children": {name: _child_settings(child) for name, child in children.items()},
        **connection.more,
    }


def _child_settings(child: Child) -> dict[str, object]:
    return {
        "local_ts": list(child.local_ts),
        "remote_ts": list(child.remote_ts),
        "esp_proposals": child.esp.split(","),
        "mode": "tunnel",
        "rekey_time": child.rekey_time,
        "start_action": child.start_action,
        "dpd_action": child.dpd_action,
        "close_action": child.close_action,
        **child.more,
    }


def _text(section: Mapping[str, bytes], key: str) -> str:
    return section.get(key, b"").decode()


def _sa_view(name: str, sa: Mapping[str, bytes]) -> SaView:
    children: Mapping[str, Mapping[str, bytes]] = sa["child-sas"]  # type: ignore[assignment]  # vici nests
    parts = ("encr-alg", "encr-keysize", "integ-alg", "prf-alg", "dh-group")
    return SaView(
        name=name,
        unique_id=_text(sa, "uniqueid"),
        state=_text(sa, "state"),
        initiator=_text(sa, "initiator") == "yes",
        local=_text(sa, "local-host"),
        remote=_text(sa, "remote-host"),
        remote_port=_text(sa, "remote-port"),
        initiator_spi=_text(sa, "initiator-spi"),
        suite="-".join(word for word in (_text(sa, part) for part in parts) if word),
        children=tuple(_child_view(child) for child in children.values()),
    )


def _child_view(child: Mapping[str, bytes]) -> ChildView:
    parts = ("encr-alg", "encr-keysize", "integ-alg", "dh-group")
    return ChildView(
        name=_text(child, "name"),
        state=_text(child, "state"),
        spi_in=_text(child, "spi-in"),
        spi_out=_text(child, "spi-out"),
        encr="-".join(word for word in (_text(child, part) for part in parts) if word),
        encap=_text(child, "encap") == "yes",
        bytes_in=int(_text(child, "bytes-in") or 0),
        bytes_out=int(_text(child, "bytes-out") or 0),
        packets_in=int(_text(child, "packets-in") or 0),
        packets_out=int(_text(child, "packets-out") or 0),
    )
