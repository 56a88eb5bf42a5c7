"""
nftables rules that drop IKE, ESP or what is forwarded: only what can be told safely.

The question is what becomes of the first packet of a flow. Each rule is read as far as it is
understood: it matches for certain, for certain not, or perhaps. So a verdict is certain only where
no rule before it could have said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gateway.cli.doctor.facts import OWN, Facts, Json, NamespaceSeen
from gateway.cli.doctor.judge.routing import versions_of
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown
from gateway.ike.config import Encap
from gateway.node.isolation import TABLE
from gateway.node.plan import NodePlan
from gateway.sa import IKE_PORT, NAT_T_PORT

_DEPTH_MAX = 16  # of chains that jump to others, as in the kernel


class Fate(Enum):
    """What rules do with a packet. GOES_ON: nothing of these rules decides."""

    PASSES = auto()
    DROPPED = auto()
    PERHAPS = auto()
    GOES_ON = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of packets: where rules meet them, IP version, protocol and port as far as known."""

    hook: str
    version: int
    protocol: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.hook == "forward":
            return f"forwarded IPv{self.version}"
        what = f"UDP {self.port}" if self.port else "ESP"
        return f"{what} inbound over IPv{self.version}"


# What every gateway needs, where the document is not known.
_ALWAYS = (Kind("input", 4, "udp", IKE_PORT), Kind("input", 4, "udp", NAT_T_PORT))


def firewall(facts: Facts) -> Iterator[Finding]:
    """No rule drops IKE, ESP or what is forwarded."""
    for seen in facts.namespaces.values():
        if isinstance(seen, Unseen):
            continue
        for kind in _kinds(facts.plan, seen.name):
            yield _judged(seen, kind)


def _kinds(plan: NodePlan | None, namespace: str) -> Iterator[Kind]:
    """Yield the kinds of packets that the document needs in a namespace."""
    if plan is None:
        yield from _ALWAYS
        return
    if namespace == OWN:
        with_esp = any(tunnel.ike.encap is not Encap.PREFER for tunnel in plan.tunnels)
        for version in sorted({address.version for address in plan.sockets}):
            yield Kind("input", version, "udp", IKE_PORT)
            yield Kind("input", version, "udp", NAT_T_PORT)
            if with_esp:
                yield Kind("input", version, "esp")
    yield from (Kind("forward", version) for version in sorted(versions_of(plan, namespace)))


def _judged(seen: NamespaceSeen, kind: Kind) -> Finding:
    about = str(kind) + (f" in {seen.name}" if seen.name != OWN else "")
    if isinstance(seen.ruleset, Unseen):
        return unknown("firewall", about, seen.ruleset, "nft list ruleset")
    if "filter" in seen.legacy_tables:
        why = "there are rules of the old iptables, which are not read here"
        return unknown("firewall", about, Unseen(why), "iptables-legacy -S; ip6tables-legacy -S")
    fate, where = fate_of(seen.ruleset, kind)
    if fate is Fate.DROPPED:
        return failure("firewall", about, f"dropped by {where}", "accepted", _opening(where, kind))
    if fate is Fate.PERHAPS:
        why = f"the rules of {where} decide by more than is known here"
        return unknown("firewall", about, Unseen(why), "nft list ruleset")
    return ok("firewall", about, "accepted", "accepted")


def _opening(where: str, kind: Kind) -> str:
    """Return the rule that lets a kind of packets in, at the front of the chain that drops them."""
    match = {"": "", "esp": "meta l4proto esp "}.get(kind.protocol, f"udp dport {kind.port} ")
    return f"nft insert rule {where} {match}accept"


def fate_of(ruleset: Sequence[Json], kind: Kind) -> tuple[Fate, str]:
    """Return what the base chains of a hook do with a kind of packets, and the chain that does."""
    worst = (Fate.PASSES, "")
    for chain in _parts(ruleset, "chain"):
        if chain.get("hook") != kind.hook or chain.get("table") == TABLE:
            continue
        if chain.get("family") not in ("inet", "ip" if kind.version == 4 else "ip6"):
            continue
        fate = _through(ruleset, chain, kind, 0)
        if fate is Fate.GOES_ON:
            fate = Fate.DROPPED if chain.get("policy") == "drop" else Fate.PASSES
        where = " ".join(str(chain.get(key)) for key in ("family", "table", "name"))
        if fate is Fate.DROPPED:
            return fate, where
        if fate is Fate.PERHAPS:
            worst = (fate, where)
    return worst


def _parts(ruleset: Sequence[Json], what: str) -> Iterator[Json]:
    found = (part.get(what) for part in ruleset)
    return (each for each in found if isinstance(each, dict))


def _through(ruleset: Sequence[Json], chain: Json, kind: Kind, depth: int) -> Fate:
    """Return what the rules of one chain do; GOES_ON where a packet comes to its end."""
    others: set[Fate] = set()  # what may have become of it before
    for rule in _parts(ruleset, "rule"):
        if any(rule.get(key) != chain.get(key) for key in ("family", "table")):
            continue
        if rule.get("chain") != chain.get("name"):
            continue
        is_certain, fate = _by_rule(ruleset, rule, kind, depth)
        if fate is Fate.GOES_ON:
            continue
        if fate is Fate.PERHAPS:
            return fate
        if is_certain:
            return fate if others <= {fate} else Fate.PERHAPS
        others.add(fate)
    if not others:
        return Fate.GOES_ON
    policy = {"drop": Fate.DROPPED, "accept": Fate.PASSES}.get(str(chain.get("policy")))
    return policy if policy and others <= {policy} else Fate.PERHAPS


def _by_rule(ruleset: Sequence[Json], rule: Json, kind: Kind, depth: int) -> tuple[bool, Fate]:
    """Return whether a rule matches for certain, and what it does if it matches."""
    is_certain = True
    expressions = rule.get("expr")
    for one in expressions if isinstance(expressions, list) else ():
        if not isinstance(one, dict):
            continue
        if isinstance(match := one.get("match"), dict):
            matches = _matches(match, kind)
            if matches is False:
                return True, Fate.GOES_ON
            is_certain = is_certain and matches is True
        elif (fate := _verdict(ruleset, rule, one, kind, depth)) is not Fate.GOES_ON:
            return is_certain, fate
        elif "return" in one:
            return is_certain, Fate.GOES_ON if is_certain else Fate.PERHAPS
        elif "limit" in one:
            is_certain = False
    return True, Fate.GOES_ON


def _verdict(ruleset: Sequence[Json], rule: Json, statement: Json, kind: Kind, depth: int) -> Fate:
    if "accept" in statement:
        return Fate.PASSES
    if "drop" in statement or "reject" in statement:
        return Fate.DROPPED
    if "vmap" in statement or "queue" in statement:
        return Fate.PERHAPS
    target = statement.get("jump") or statement.get("goto")
    if not isinstance(target, dict):
        return Fate.GOES_ON
    if "goto" in statement or depth >= _DEPTH_MAX:
        return Fate.PERHAPS
    place = {"family": rule.get("family"), "table": rule.get("table"), "name": target["target"]}
    return _through(ruleset, place, kind, depth + 1)


def _matches(match: Json, kind: Kind) -> bool | None:
    """Return whether a packet of this kind matches; None where that is not known."""
    left, right, operator = match.get("left"), match.get("right"), match.get("op")
    if not isinstance(left, dict) or operator not in ("==", "!=", "in"):
        return None
    found = _compared(left, right, kind)
    return found if found is None or operator != "!=" else not found


def _compared(left: Json, right: object, kind: Kind) -> bool | None:
    meta, payload, ct = left.get("meta"), left.get("payload"), left.get("ct")
    if isinstance(ct, dict) and ct.get("key") == "state":
        return _has(right, "new")
    if isinstance(meta, dict):
        key = meta.get("key")
        if key == "nfproto":
            return _has(right, f"ipv{kind.version}")
        if key == "l4proto" and kind.protocol:
            return _has(right, kind.protocol)
        if key in ("iifname", "iif") and right == "lo":
            return False
        return None
    if not isinstance(payload, dict):
        return None
    protocol, field = payload.get("protocol"), payload.get("field")
    if protocol == ("ip6" if kind.version == 4 else "ip"):
        return False
    if not kind.protocol:
        return None
    if protocol in ("tcp", "udp", "sctp", "icmp", "icmpv6", "udplite") and field:
        if protocol != kind.protocol:
            return False
        return _has(right, kind.port) if field == "dport" else None
    if field in ("protocol", "nexthdr"):
        return _has(right, kind.protocol)
    return None


def _has(right: object, value: str | int) -> bool | None:
    """Return whether a value is in what a rule compares with: itself, a list, a range or a set."""
    if isinstance(right, str) and right.startswith("@"):
        return None
    if isinstance(right, Mapping):
        if isinstance(bounds := right.get("range"), list) and isinstance(value, int):
            return bool(bounds[0] <= value <= bounds[1])
        members = right.get("set")
        return None if not isinstance(members, list) else _any(members, value)
    if isinstance(right, list):
        return _any(right, value)
    return right == value


def _any(members: Sequence[object], value: str | int) -> bool | None:
    found = [_has(member, value) for member in members]
    return True if True in found else None if None in found else False
