"""
Gateways that a control plane tells what to do: the process, its nodes, the wires between them.

    control --- mgmt1 --- gateway 1
            '-- mgmt2 --- gateway 2     10.254.N.0/30, the control process is .1
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lab.commands import LabError, run, wait_for
from lab.control import Control, Table
from lab.netns import Lab, Namespace
from lab.twinspan import ROOT, Document, Twinspan

PORT = 8444  # where the control process listens for nodes


class Member(Twinspan):
    """A gateway whose document comes from a control plane: a node of it."""

    def __init__(self, machine: Namespace, url: str, token: str, node: str) -> None:
        """Keep what it registers with at its first start, and the id of its node."""
        super().__init__(machine, "")
        self.node = node
        self.state = self.directory / "node"
        self._url = url
        self._token_file = self.directory / "token"
        self._token_file.write_text(token)
        self._token_file.chmod(0o600)

    def _source(self) -> Sequence[str]:
        return (
            *("--control", self._url, "--state-dir", str(self.state)),
            *("--register-token-file", str(self._token_file)),
        )


@dataclass(slots=True)
class Fleet:
    """A control process on a machine of its own, and the nodes that it was given."""

    control: Control
    members: list[Member] = field(default_factory=list)

    @classmethod
    def build(cls, lab: Lab, *options: str) -> Fleet:
        """Make the machine and start the control process, with more options."""
        listen = ("--listen-nodes", f"0.0.0.0:{PORT}")
        return cls(Control(lab.namespace("control"), *listen, *options).start())

    def join(self, machine: Namespace, *addresses: str, start: bool = True) -> Member:
        """Make a machine a node that has these public addresses; start its gateway."""
        api = self.control.api()
        node = api.create("nodes", name=machine.name, public_addresses=addresses)
        token = api.do(f"nodes/{node['id']}/token")
        return self.enrol(machine, str(token["registration_token"]), node["id"], start=start)

    def enrol(self, machine: Namespace, token: str, node: str, *, start: bool = True) -> Member:
        """Make a machine the node that a token is of, with a wire to the control process."""
        number = len(self.members) + 1
        net = f"10.254.{number}"
        self.control.machine.lab.wire(
            (self.control.machine, f"mgmt{number}", (f"{net}.1/30",)),
            (machine, "mgmt", (f"{net}.2/30",)),
        )
        member = Member(machine, f"https://{net}.1:{PORT}", token, node)
        self.members.append(member)
        if start:
            member.start()
        return member

    def adopt(self, machine: Namespace, document: Document) -> Member:
        """Make a machine a node, and what its document says resources; nothing is started."""
        document = _with_devices(document)
        member = self.join(machine, *document.public, start=False)
        member.write(document)
        self.apply(document)
        return member

    def apply(self, document: Document, *words: str) -> str:
        """Make the control plane have what a document says, as a gateway's file would say it."""
        file = self.control.directory / "document.toml"
        file.write_text(document.toml())
        file.chmod(0o600)
        return self.cli("apply", "--file", str(file), "--yes", *words)

    def cli(self, *words: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Return what a `twinspan` command prints that speaks with the control process."""
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TWINSPAN_URL": f"unix:{self.control.socket}",
            "COLUMNS": "200",
        }
        argv = (sys.executable, "-m", "gateway", *words)
        return run(*argv, env=env, check=check, timeout_s=timeout_s)

    def tunnels(self) -> dict[str, Table]:
        """Return the tunnels as the API answers them, by name."""
        return {str(one["name"]): one for one in self.control.api().all("vpn-tunnels")}

    def wait_tunnels(
        self, operational: str, *names: str, timeout_s: float = 30.0
    ) -> dict[str, Table]:
        """Wait until the API says so of these tunnels, of all if none is named."""

        def said() -> bool:
            tunnels = self.tunnels()
            wanted = [tunnels[name] for name in names or tunnels]
            return all(one["status"]["operational"] == operational for one in wanted)

        self._wait(f"tunnels {names or 'all'} {operational}", said, timeout_s)
        return self.tunnels()

    def wait_applied(self, timeout_s: float = 10.0) -> None:
        """Wait until every node has applied the document that is wanted of it."""

        def applied() -> bool:
            nodes = (one["status"] for one in self.control.api().all("nodes"))
            return all(
                one["operational"] == "up" and one["generation_applied"] == one["generation_wanted"]
                for one in nodes
            )

        self._wait("documents to be applied", applied, timeout_s)

    def _wait(self, what: str, question: Callable[[], bool], timeout_s: float) -> None:
        try:
            wait_for(what, question, timeout_s)
        except LabError as error:
            logs = [self.control.log_text(), *(one.log_text() for one in self.members)]
            raise LabError("\n".join([str(error), *(log[-3000:] for log in logs)])) from error


def _with_devices(document: Document) -> Document:
    """Return a document whose TUN devices are named as without a control plane."""
    connections = [
        replace(
            connection,
            tunnels=[
                replace(one, settings={"interface": f"ts-{one.name}", **one.settings})
                for one in connection.tunnels
            ],
        )
        for connection in document.connections
    ]
    return replace(document, connections=connections)
