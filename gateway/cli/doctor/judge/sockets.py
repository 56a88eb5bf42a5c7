"""Ports, protocol 50, addresses: do peers reach us, and does anybody else take their packets?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from gateway.cli.doctor.facts import OWN, Facts, GatewaySeen, Holder, NamespaceSeen, OpenSocket
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown, warning
from gateway.ike.config import Encap
from gateway.sa import IKE_PORT, NAT_T_PORT, Address

ESP = 50
_SEE_ALL = "run it as root"
_TRANSLATED = tuple(  # RFC 1918, RFC 6598: no peer on the Internet sees these
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
_RESTART = "systemctl restart twinspan-gateway, then twinspan log"


def ports(facts: Facts) -> Iterator[Finding]:
    """UDP 500 and 4500 of each public address are free, or held by us."""
    for address in facts.plan.sockets if facts.plan else ():
        for number in (IKE_PORT, NAT_T_PORT):
            yield _port(facts, address, number)


def _port(facts: Facts, address: Address, number: int) -> Finding:
    about = f"UDP {address} port {number}"
    wanted = "held by twinspan alone"
    if isinstance(facts.sockets, Unseen):
        return unknown("ports", about, facts.sockets, _SEE_ALL)
    found = [one for one in facts.sockets if one.port == number and _covers(one, address)]
    holders = [one.holder for one in found if isinstance(one.holder, Holder)]
    strangers = [holder for holder in holders if not holder.is_ours]
    if strangers:
        return failure("ports", about, _held(strangers[0]), wanted, _stop(strangers[0]))
    if holders:
        return ok("ports", about, _held(holders[0]), wanted)
    for one in found:
        if isinstance(one.holder, Unseen):
            return unknown("ports", about, Unseen(f"held, {one.holder.why}"), _SEE_ALL)
    if isinstance(facts.gateway, GatewaySeen):
        return failure("ports", about, "free, though the gateway runs", wanted, _RESTART)
    return ok("ports", about, "free", "free or held by twinspan")


def _covers(one: OpenSocket, address: Address) -> bool:
    """Say whether a socket takes what comes to an address; IPv6's "any" takes IPv4 too."""
    if one.address.is_unspecified:
        return one.address.version >= address.version
    return one.address == address


def _held(holder: Holder) -> str:
    unit = f" of {holder.unit}" if holder.unit else ""
    return f"held by {holder.program} (pid {holder.pid}{unit})"


def _stop(holder: Holder) -> str:
    if holder.unit:
        return f"systemctl disable --now {holder.unit}"
    return f"end it: kill {holder.pid}"


def raw_esp(facts: Facts) -> Iterator[Finding]:
    """ESP as protocol 50 can be sent and received, where tunnels use it."""
    plan = facts.plan
    if plan is None:
        return
    users = [tunnel.name for tunnel in plan.tunnels if tunnel.ike.encap is not Encap.PREFER]
    about, wanted = "protocol 50", "raw sockets, which need CAP_NET_RAW"
    if isinstance(facts.gateway, GatewaySeen):
        rights = facts.gateway.capabilities
        if isinstance(rights, Unseen):
            yield unknown("raw_esp", about, rights, _SEE_ALL)
            return
        may, who = "cap_net_raw" in rights, "the gateway process"
    else:
        may, who = facts.may_open_raw, "this user"
    found = f"{who} {'may' if may else 'may not'} open raw sockets"
    if may:
        yield ok("raw_esp", about, found + _users(users), wanted)
    elif isinstance(facts.gateway, GatewaySeen) or facts.is_root:
        yield failure(
            "raw_esp", about, found, wanted, "AmbientCapabilities=CAP_NET_RAW in the unit"
        )
    else:
        yield unknown("raw_esp", about, Unseen(found), _SEE_ALL)


def _users(tunnels: list[str]) -> str:
    if not tunnels:
        return '; no tunnel needs it: all have encap = "prefer"'
    shown = ", ".join(tunnels[:3]) + (", ..." if len(tunnels) > 3 else "")
    return f"; used by {shown}, if no NAT is on the way"


def esp_takers(facts: Facts) -> Iterator[Finding]:
    """No other IPsec of this machine takes packets that are ours."""
    if isinstance(facts.raw_sockets, Unseen):
        yield unknown("other_ipsec", "protocol 50", facts.raw_sockets, _SEE_ALL)
    else:
        holders = [one.holder for one in facts.raw_sockets if one.port == ESP]
        for holder in dict.fromkeys(holders):
            if isinstance(holder, Holder) and not holder.is_ours:
                yield warning(
                    "other_ipsec", "protocol 50", _held(holder), "twinspan alone", _stop(holder)
                )
    for name, seen in facts.namespaces.items():
        if isinstance(seen, NamespaceSeen):
            yield _kernel_ipsec(name, seen.xfrm)


def _kernel_ipsec(namespace: str, found: int | Unseen) -> Finding:
    about = f"IPsec policies of the kernel{_in(namespace)}"
    if isinstance(found, Unseen):
        return unknown("other_ipsec", about, found, _SEE_ALL)
    if not found:
        return ok("other_ipsec", about, "none", "none")
    enter = f"ip netns exec {namespace} " if namespace else ""
    remedy = f"stop what made them (strongSwan, libreswan), then {enter}ip xfrm policy flush"
    text = f"{found}: packets that they match do not go by routes, and so not into our tunnels"
    return warning("other_ipsec", about, text, "none", remedy)


def _in(namespace: str) -> str:
    return f" in namespace {namespace}" if namespace != OWN else ""


def addresses(facts: Facts) -> Iterator[Finding]:
    """The public addresses are on this machine."""
    own, plan = facts.own, facts.plan
    if plan is None or isinstance(own, Unseen):
        return
    here = ", ".join(sorted(str(one) for one in own.addresses if not _is_local_only(one)))
    for address in plan.sockets:
        about = f"address {address}"
        if address in own.addresses:
            yield ok("addresses", about, _kind(address), "on this machine")
            continue
        remedy = (
            f"ip address add {address}/{address.max_prefixlen} dev DEVICE; where the cloud"
            " translates it 1:1, give public_addresses the private address that is here"
            " instead, and local_id the public one"
        )
        text = f"not on this machine, which has {here or 'none'}"
        yield failure("addresses", about, text, "on this machine", remedy)


def _is_local_only(address: Address) -> bool:
    return address.is_loopback or address.is_link_local


def _kind(address: Address) -> str:
    if any(address in network for network in _TRANSLATED):
        return "on this machine; private, so translated by somebody on the way to the Internet"
    return "on this machine"


# Ours and others say so too where there is none, to have ESP in UDP: encap = "prefer".
_THEIR_NAT = "the peer is behind one, or says so to have ESP in UDP"


def nat(facts: Facts) -> Iterator[Finding]:
    """What IKE has seen of address translation on the way to each peer."""
    plan = facts.plan
    if plan is None:
        return
    if isinstance(facts.gateway, Unseen):
        yield unknown("nat", "all peers", Unseen(f"only IKE sees it: {facts.gateway.why}"))
        return
    seen = {tunnel.name: tunnel for tunnel in facts.gateway.tunnels}
    for tunnel in plan.tunnels:
        found = seen.get(tunnel.name)
        if found is None or found.nat_local is None or found.nat_remote is None:
            yield unknown("nat", tunnel.name, Unseen("IKE has not spoken with the peer yet"))
            continue
        sides = [("we are behind one", found.nat_local), (_THEIR_NAT, found.nat_remote)]
        words = "; ".join(words for words, is_so in sides if is_so)
        if words and tunnel.ike.encap is Encap.NEVER:
            remedy = f'encap = "auto" for {tunnel.name}: ESP without UDP does not pass a NAT'
            yield failure("nat", tunnel.name, words, 'none, as encap is "never"', remedy)
        else:
            yield ok("nat", tunnel.name, words or "none")
