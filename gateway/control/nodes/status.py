"""
What is computed of resources: are they up, and why not. From what nodes have reported.

A tunnel whose node does not report is `unknown`, with the reason `node_lost`: nothing is guessed,
and nothing is moved. Up or down is its node's word, allowed or not the resource's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address

from gateway.control.api.render import moment
from gateway.control.api.status import together
from gateway.control.mirror import Mirror
from gateway.control.nodes.credentials import Credentials
from gateway.control.nodes.documents import Documents
from gateway.control.nodes.reports import Reports
from gateway.control.nodes.states import States
from gateway.control.resources.record import Record, Table
from gateway.model.codes import hint_of
from gateway.model.types import AnyAddress
from gateway.node.redundancy import Leg, ha_status

_SHOWN = ("active", "standing", "local", "remote", "interface", "suite", "bgp", "probe", "mtu")
_SIDES = ("inside", "outside")
LATEST = 4e9  # seconds since 1970: what a node says is not believed beyond
_REFUSED = "refused"  # stands for the problem that the node has with its document
_NO_BGP = ("", "established")
ADDRESSES_KEPT = 20_000


class Statuses:
    """Computes what of the `status` of a resource comes from reports, as the API answers it."""

    def __init__(
        self,
        mirror: Mirror,
        states: States,
        documents: Documents,
        reports: Reports,
        credentials: Credentials,
    ) -> None:
        self._mirror = mirror
        self._states = states
        self._documents = documents
        self._reports = reports
        self._credentials = credentials

    def of(self, record: Record) -> Table:
        """Return the status of a resource; empty for kinds that have none."""
        match record.kind:
            case "vpn_tunnel":
                return self.of_tunnel(record)
            case "vpn_connection":
                return self.of_connection(record)
            case "node":
                return self.of_node(record)
        return {}

    def of_tunnel(self, tunnel: Record) -> Table:
        """Return the status of a VPN Tunnel."""
        node, state = str(tunnel.allocated.get("node") or ""), self._states.get(tunnel.id)
        applied = self._states.get(node).get("at")
        told = self._reports.counters(node, tunnel.id)
        counters = told.model_dump() if told else None
        sides = {side: counters.pop(side) for side in _SIDES} if counters else None
        operational, code = self._standing(node, state)
        return {
            "admin": self._admin(tunnel, state),
            "operational": operational,
            "reason": self._reason(code, node, state),
            "since": _moment(state.get("since")),
            "node": node or None,
            "generation_wanted": self._documents.generation(node),
            "generation_applied": _generation(applied),
            **{key: state.get(key) for key in _SHOWN},
            "counters": counters,
            "round_trip": sides,
        }

    def mark(self, tunnel: Record) -> object:
        """
        Return what the status of a VPN Tunnel follows from, beside the tunnel itself.

        As long as it is equal, so is the status, but for the numbers of generations; to compare it
        costs a tenth of making that.
        """
        node = str(tunnel.allocated.get("node") or "")
        state = self._states.get(node)
        return (
            self._mirror.get("vpn_connection", str(tunnel.of("vpn_connection"))),
            self._mirror.get("node", node),
            self._reports.is_alive(node),
            bool(state),
            state.get("problem"),
            self._states.get(tunnel.id),
            self._reports.counters(node, tunnel.id),
        )

    def _admin(self, tunnel: Record, state: Mapping[str, object]) -> str:
        """Return what the resource says; `down` also where somebody said so on the node."""
        connection = self._mirror.get("vpn_connection", str(tunnel.of("vpn_connection")))
        said = tunnel.spec.get("admin") or (connection and connection.spec.get("admin")) or "up"
        return "down" if "down" in (said, state.get("admin")) else "up"

    def _standing(self, node: str, state: Mapping[str, object]) -> tuple[str, str]:
        """Return how a tunnel is, and the code of why where that is not its node's word."""
        if not node:
            return "down", "not_placed"
        if not self._reports.is_alive(node):
            return "unknown", "node_lost" if self._states.get(node) else "node_new"
        if state:
            return str(state.get("operational")), ""
        if self._states.get(node).get("problem"):
            return "down", _REFUSED
        return "connecting", "not_applied"

    def _reason(self, code: str, node: str, state: Mapping[str, object]) -> object:
        """Return the reason that `_standing` gave the code of."""
        match code:
            case "":
                return state.get("reason")
            case "not_placed":
                return _why(code, "the tunnel is on no node")
            case "node_lost":
                return _why(code, f"node {self._name('node', node)} has not reported for 15 s")
            case "node_new":
                return _why(code, f"node {self._name('node', node)} has never reported")
            case "not_applied":
                return _why(code, "the node has not got the tunnel yet")
        return self._states.get(node).get("problem")

    def of_connection(self, connection: Record) -> Table:
        """Return the status of a VPN Connection: what its tunnels come to."""
        words, legs, working = [], [], 0
        for tunnel in self._mirror.children("vpn_tunnel", connection.id):
            node = str(tunnel.allocated.get("node") or "")
            state = self._states.get(tunnel.id)
            word = self._standing(node, state)[0]
            works = word == "up" and state.get("bgp", "") in _NO_BGP
            words.append(word)
            working += works
            if (leg := _leg(tunnel, works=works)) is not None:
                legs.append(leg)
        return {
            "working": working,
            "operational": together(words),
            "ha_status": ha_status(legs).value if legs else "no_redundancy",
        }

    def word_of_node(self, node: Record) -> str:
        """Return how a node is: up, lost, or new if it has never reported."""
        if self._reports.is_alive(node.id):
            return "up"
        return "lost" if self._states.get(node.id) else "new"

    def of_node(self, node: Record) -> Table:
        """Return the status of a node."""
        state = self._states.get(node.id)
        applied = state.get("at")
        credential = self._credentials.of_node(node.id)
        operational = self.word_of_node(node)
        reason = state.get("problem")
        if operational == "lost":
            reason = _why("node_lost", "the node has not reported for 15 s")
        return {
            "operational": operational,
            "reason": reason,
            "last_report_at": self._reports.last_report_at(node.id),
            "registered": credential["is_registered"],
            "certificate_until": _moment(credential["not_after"]),
            "since": _moment(state.get("since")),
            "version": state.get("version"),
            "generation_wanted": self._documents.generation(node.id),
            "generation_applied": _generation(applied),
            "notes": state.get("notes", []),
            "tunnels": sum(1 for _ in self._mirror.children("vpn_tunnel", node.id)),
        }

    def _name(self, kind: str, id: str) -> str:
        record = self._mirror.get(kind, id)
        return record.name if record is not None else id


def _leg(tunnel: Record, *, works: bool) -> Leg | None:
    local, remote = tunnel.of("local_address"), tunnel.of("remote_address")
    if not local:
        return None
    return Leg(_address(local), _address(remote) if remote else None, works)


@lru_cache(maxsize=ADDRESSES_KEPT)  # a list of connections has the same ones again and again
def _address(text: str) -> AnyAddress:
    return ip_address(text)


def _why(code: str, text: str) -> Table:
    return {"code": code, "text": text, "ours": "", "theirs": "", "hint": hint_of(code)}


def _generation(position: object) -> object:
    return position.get("generation") if isinstance(position, Mapping) else None


def _moment(at: object) -> str | None:
    """Return seconds since 1970 as RFC 3339 has them; None for no time."""
    return moment(min(max(at, 0.0), LATEST)) if isinstance(at, int | float) else None
