"""
A BIRD in a machine: its configuration, its process, what it says of itself.

It speaks BGP with BFD over the machine's wires and tunnels, as a customer's device, an office
router or a VPC router does. The options are those of a careful operator: quick retries, a lost
neighbour is left at once, equal routes share the traffic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.commands import LabError, Process, run, wait_for
from lab.netns import Namespace

_BFD_LINE = re.compile(r"^[0-9a-f.:]+ +\S+ +(\w+) ", re.MULTILINE)
_PROGRAM = "/usr/sbin/bird"


@dataclass(frozen=True, slots=True)
class Peer:
    """
    One BGP session over a wire or tunnel; IBGP where both AS numbers are equal.

    `bfd` is as in our documents, None for none.
    """

    name: str
    interface: str
    local: str
    remote: str
    local_asn: int
    asn: int
    bfd: str | None = "300x3"


@dataclass(frozen=True, slots=True)
class Speaker:
    """What one BIRD is to do: the prefixes it announces, its sessions."""

    router_id: str
    announced: Sequence[str]
    peers: Sequence[Peer]

    def conf(self, log: Path) -> str:
        """Return BIRD's configuration, which logs to `log`."""
        routes = "".join(f"  route {prefix} unreachable;\n" for prefix in self.announced)
        parts = [
            f'log "{log}" all;\nrouter id {self.router_id};\nprotocol device {{ scan time 2; }}',
            "protocol kernel {\n  merge paths on limit 8;\n"
            "  ipv4 { import none; export where source = RTS_BGP; };\n}",
            f"protocol static own {{\n  ipv4;\n{routes}}}",
            f"protocol bfd {{\n  accept direct;\n{''.join(map(_bfd, self.peers))}}}",
            *(session_conf(peer) for peer in self.peers),
        ]
        return "\n".join(parts) + "\n"


def session_conf(peer: Peer) -> str:
    """Return a session as BIRD's configuration has it."""
    return f"""protocol bgp {peer.name} {{
  interface "{peer.interface}";
  direct;
  bfd {"on" if peer.bfd else "off"};
  local {peer.local} as {peer.local_asn};
  neighbor {peer.remote} as {peer.asn};
  hold time 30;
  graceful restart aware;
  connect delay time 1;
  connect retry time 1;
  error wait time 0, 1;
  error forget time 5;
  ipv4 {{
    next hop self;
    import all;
    export where source = RTS_STATIC || source = RTS_BGP;
  }};
}}"""


def _bfd(peer: Peer) -> str:
    if peer.bfd is None:
        return ""
    interval, _, multiplier = peer.bfd.partition("x")
    return (
        f'  interface "{peer.interface}" {{ min rx interval {interval} ms;'
        f" min tx interval {interval} ms; idle tx interval 1 s; multiplier {multiplier}; }};\n"
    )


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session as BIRD shows it."""

    state: str  # "Established" when it is up
    imported: int
    exported: int


class Bird:
    """One BIRD in a namespace."""

    def __init__(self, machine: Namespace, speaker: Speaker | str) -> None:
        self.machine = machine
        self.directory = machine.lab.directory / f"{machine.name}-bird"
        self.directory.mkdir(mode=0o700)
        self.log = self.directory / "bird.log"
        self._conf, self._socket = self.directory / "bird.conf", self.directory / "bird.sock"
        self._process: Process | None = None
        self.write(speaker)

    def write(self, speaker: Speaker | str) -> None:
        """Replace the configuration, by what it is to do or its text; read at start."""
        self._speaker = speaker
        if isinstance(speaker, str):
            self._conf.write_text(f'log "{self.log}" all;\n{speaker}')
        else:
            self._conf.write_text(speaker.conf(self.log))

    def write_beside(self, text: str) -> None:
        """Write a file beside the configuration that it includes: what is the site's own."""
        (self.directory / "local.conf").write_text(text + "\n")

    @property
    def speaker(self) -> Speaker:
        """Return what was written; not for one that was written as text."""
        assert isinstance(self._speaker, Speaker)
        return self._speaker

    def start(self) -> Bird:
        """Start BIRD and wait until it answers. Raises LabError with its words."""
        argv = (_PROGRAM, "-f", "-c", str(self._conf), "-s", str(self._socket))
        self._process = self.machine.start("bird", *argv)
        wait_for(f"bird in {self.machine.name}", self._answers, 10.0)
        return self

    def _answers(self) -> bool:
        process = self._process
        if process is None or not process.is_alive:
            words = process.tail() if process else "it was not started"
            raise LabError(f"bird in {self.machine.name} ended:\n{words}")
        return self._socket.exists() and "ready" in self.birdc("show", "status", check=False)

    @property
    def pid(self) -> int:
        """Return its process id. Raises LabError if it was not started."""
        if self._process is None:
            raise LabError(f"bird in {self.machine.name} was not started")
        return self._process.pid

    def stop(self) -> None:
        """Stop it as an operator would: its neighbours are told, its routes leave the kernel."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it as a crash would: nobody is told, its routes stay in the kernel."""
        if self._process is not None:
            self._process.kill()

    def configure(self, speaker: Speaker | str) -> None:
        """Replace the configuration while it runs. Raises LabError if BIRD does not take it."""
        self.write(speaker)
        answer = self.birdc("configure")
        if "Reconfigur" not in answer:
            raise LabError(f"bird in {self.machine.name}: {answer}")

    def birdc(self, *words: str, check: bool = True) -> str:
        """Return what BIRD answers to a command."""
        return run("birdc", "-s", str(self._socket), *words, check=check)

    def sessions(self) -> dict[str, Session]:
        """Return its BGP sessions by name."""
        text = self.birdc("show", "protocols", "all")
        blocks = re.split(r"\n(?=\S)", text)
        return {block.split()[0]: _session(block) for block in blocks if " BGP " in block}

    def is_established(self) -> bool:
        """Say whether every session of BGP is up, and every one of BFD."""
        found = self.sessions().values()
        watched = _BFD_LINE.findall(self.birdc("show", "bfd", "sessions"))
        alive = all(state == "Up" for state in watched)
        return alive and bool(found) and all(session.state == "Established" for session in found)

    def wait_established(self, timeout_s: float = 30.0) -> None:
        """Wait until every session is up. Raises LabError with their state."""
        try:
            wait_for(f"BGP of {self.machine.name}", self.is_established, timeout_s, every_s=0.1)
        except LabError as error:
            state = self.birdc("show", "protocols") + self.birdc("show", "bfd", "sessions")
            raise LabError(f"{error}\n{state}") from error


def _session(block: str) -> Session:
    state = re.search(r"BGP state: +(\S+)", block)
    routes = re.search(r"Routes: +(\d+) imported.*?(\d+) exported", block)
    return Session(
        state[1] if state else "down",
        int(routes[1]) if routes else 0,
        int(routes[2]) if routes else 0,
    )
