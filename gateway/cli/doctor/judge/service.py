"""The document, the processes and what they may: is the gateway run as it should be?"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.doctor.facts import Facts, GatewaySeen
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown, warning
from gateway.cli.table import duration
from gateway.node.lanes import steered
from gateway.node.plan import NodePlan, TunnelPlan
from gateway.routing.process import OLDEST, OLDEST_AO
from gateway.unix import DESCRIPTORS

NEEDED = ("cap_net_admin", "cap_net_bind_service", "cap_net_raw")
UNITS = ("twinspan-gateway.service", "twinspan-dataplane.socket")
NETNS_UNIT = "twinspan-netns.socket"
RIVALS = ("strongswan.service", "strongswan-starter.service", "ipsec.service", "libreswan.service")
_CREDENTIAL_DAYS = 7  # it is renewed long before, as often as it takes
_SPARE = 256  # descriptors beside those of tunnels: sockets, clients, logs
_AFTER_S = 1.0  # a file written as the gateway reads it may be a little younger than the reading


def document(facts: Facts) -> Iterator[Finding]:
    """The document has no mistake, and the gateway works by it."""
    seen = facts.document
    for problem in seen.problems:
        yield failure("document", seen.path, problem, "no mistake", f"twinspan check {seen.path}")
    if isinstance(seen.plan, Unseen) and not seen.problems:
        yield unknown("document", seen.path, seen.plan, "run it as root, or name it by --config")
    for text in seen.warnings:
        remedy = f"twinspan check {seen.path}"
        yield warning("document", seen.path, text, "nothing to be warned of", remedy)
    if isinstance(seen.plan, NodePlan):
        tunnels = f"{len(seen.plan.tunnels)} tunnels, no mistake"
        yield ok("document", seen.path, tunnels, "no mistake")


def last_reading(facts: Facts, now: float) -> Iterator[Finding]:
    """The gateway has taken the document as it is on disk. `now` is in seconds since 1970."""
    gateway = facts.gateway
    if isinstance(gateway, Unseen):
        return
    about, wanted = "last reading", "the file as it is, taken without a mistake"
    refused, taken = gateway.refused_at, gateway.read_at
    if refused is not None and refused > (taken or 0.0):
        found = f"refused {duration(now - refused)} ago: {gateway.refused}"
        remedy = "mend the file, then twinspan reload"
        yield failure("document", about, found, wanted, remedy)
        return
    changed = facts.document.changed_at
    if taken is not None and changed is not None and changed > taken + _AFTER_S:
        found = f"the file is {duration(changed - taken)} younger than the last reading"
        yield warning("document", about, found, wanted, "twinspan reload")
        return
    when = f"taken {duration(now - taken)} ago" if taken is not None else "long ago"
    never = "no mistake since" if refused is None else f"last mistake {duration(now - refused)} ago"
    yield ok("document", about, f"{when}; {never}", wanted)


def credential(facts: Facts, now: float) -> Iterator[Finding]:
    """The control plane goes on knowing this node. `now` is in seconds since 1970."""
    until = facts.document.credential_until
    if until is None:
        return
    about, wanted = "certificate of this node", f"{_CREDENTIAL_DAYS} days or more"
    remedy = "see why the control plane is not reached; or a new token and --register-token-file"
    if until < now:
        found = f"ended {duration(now - until)} ago: the control plane knows this node no more"
        yield failure("credential", about, found, wanted, remedy)
    elif until < now + _CREDENTIAL_DAYS * 86400:
        found = f"ends in {duration(until - now)}"
        yield warning("credential", about, found, wanted, remedy)
    else:
        yield ok("credential", about, f"good for {duration(until - now)}", wanted)


def gateway(facts: Facts) -> Iterator[Finding]:
    """The gateway process runs and has nothing to complain of."""
    seen, wanted = facts.gateway, "runs"
    if isinstance(seen, Unseen):
        start = "systemctl start twinspan-gateway"
        if facts.is_root:
            yield warning("gateway", "process", seen.why, wanted, start)
        else:
            yield unknown("gateway", "process", seen, "run it as root")
        return
    up = sum(tunnel.status == "up" for tunnel in seen.tunnels)
    found = f"runs, pid {seen.pid}: {up} of {len(seen.tunnels)} tunnels up"
    if up == len(seen.tunnels):
        yield ok("gateway", "process", found, wanted)
    else:
        down = next(tunnel.name for tunnel in seen.tunnels if tunnel.status != "up")
        remedy = f"twinspan explain {down}"
        yield warning("gateway", "process", found, "all tunnels up", remedy)
    for note in seen.notes:
        yield warning("gateway", "note", note, "none", "as it says; twinspan status")


def units(facts: Facts) -> Iterator[Finding]:
    """Our units are active, and nobody else's IPsec is."""
    if isinstance(facts.units, Unseen):
        yield unknown("units", "systemd", facts.units)
        return
    needs = [*UNITS, *([NETNS_UNIT] if facts.plan and facts.plan.namespaces else [])]
    for name in needs:
        state = facts.units.get(name, "unknown")
        if state == "active":
            yield ok("units", name, state, "active")
        else:
            remedy = f"systemctl enable --now {name}"
            yield warning("units", name, state, "active", remedy)
    for name in RIVALS:
        if facts.units.get(name) == "active":
            remedy = f"systemctl disable --now {name}"
            yield failure("units", name, "active: it wants the same ports", "inactive", remedy)


def rights(facts: Facts) -> Iterator[Finding]:
    """The gateway process has the capabilities it needs."""
    if isinstance(facts.gateway, Unseen):
        return
    found, wanted = facts.gateway.capabilities, ", ".join(NEEDED)
    if isinstance(found, Unseen):
        yield unknown("capabilities", "gateway process", found, "run it as root")
        return
    missing = [name for name in NEEDED if name not in found]
    if not missing:
        yield ok("capabilities", "gateway process", wanted, wanted)
    else:
        remedy = f"AmbientCapabilities={' '.join(missing).upper()} in twinspan-gateway.service"
        text = f"without {', '.join(missing)}"
        yield failure("capabilities", "gateway process", text, wanted, remedy)


def descriptors(facts: Facts) -> Iterator[Finding]:
    """The processes may open as many files as the tunnels need."""
    if isinstance(facts.gateway, Unseen):
        return
    plan = facts.plan
    needed = _SPARE + sum(map(_descriptors_of, plan.tunnels if plan else ()))
    for name, seen in facts.gateway.limits.items():
        if isinstance(seen, Unseen):
            yield unknown("descriptors", name, seen, "run it as root")
            continue
        opened, limit = seen
        found, wanted = f"{opened} of {limit} open", f"a limit of {needed} or more"
        remedy = f"LimitNOFILE={max(needed, DESCRIPTORS)} for the {name}"
        if limit >= max(needed, opened + _SPARE // 4):
            yield ok("descriptors", name, found, wanted)
        else:
            yield failure("descriptors", name, found, wanted, remedy)


def _descriptors_of(tunnel: TunnelPlan) -> int:
    """Return those of a tunnel: its TUN queues, and with a rate cap a timer for each."""
    queues = len(steered(max(1, tunnel.workers)))
    return 2 * queues if tunnel.rate_bps else queues


def bird(facts: Facts) -> Iterator[Finding]:
    """BIRD is there and new enough for what the document wants of it."""
    plan = facts.plan
    if plan is None or not plan.routing:
        return
    with_ao = [peer.name for peer in plan.peers if peer.ao is not None]
    oldest = OLDEST_AO if with_ao else OLDEST
    wanted = f"{_dotted(oldest)} or later" + (f", for bgp_auth of {with_ao[0]}" if with_ao else "")
    if isinstance(facts.bird, Unseen):
        yield failure("bird", "version", facts.bird.why, wanted, "apt-get install bird2")
    elif facts.bird >= oldest:
        yield ok("bird", "version", _dotted(facts.bird), wanted)
    else:
        remedy = "a newer bird2 (Debian backports, or packages of nic.cz)"
        yield failure("bird", "version", _dotted(facts.bird), wanted, remedy)
    if isinstance(facts.gateway, GatewaySeen):
        for namespace, error in facts.gateway.birds:
            about = f"process in {namespace}" if namespace else "process"
            if error:
                yield failure("bird", about, error, "answers", "twinspan log; bird.log")
            else:
                yield ok("bird", about, "answers", "answers")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
