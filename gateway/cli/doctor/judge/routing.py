"""Each network namespace: settings of the kernel, and routes that stand in ours' way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.cli.doctor.facts import OWN, Facts, NamespaceSeen, prefixes_of
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown, warning
from gateway.fib import MAIN_TABLE, FibRoute, Network
from gateway.node.machine import bfd_buffer_bytes
from gateway.node.plan import NodePlan

_OURS = {"twinspan", "bird"}
_SYSCTL_FILE = "/etc/sysctl.d/60-twinspan.conf"
_CONNTRACK_MAX = 0.8  # of its table: bursts go beyond it

# Those of deploy/sysctl.d, but for forwarding and rp_filter, which have checks of their own, and
# for what the gateway process sets on each tunnel for IPv4 by itself.
WANTED_SETTINGS: Mapping[str, tuple[str, str]] = {
    "ipv6/conf/default/ignore_routes_with_linkdown": ("1", "new tunnels keep traffic when down"),
    "ipv4/fib_multipath_hash_policy": ("1", "two hosts' traffic never shares several tunnels"),
    "ipv6/fib_multipath_hash_policy": ("1", "two hosts' traffic never shares several tunnels"),
}
_BFD_BUFFER = "core/rmem_default"
BFD_BUFFER_BYTES = 4 << 20  # as in deploy/sysctl.d: the BFD packets of 1,000 tunnels and more
SWITCHES = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
CONNTRACK = ("netfilter/nf_conntrack_count", "netfilter/nf_conntrack_max")


def namespaces(facts: Facts) -> Iterator[Finding]:
    """Each namespace of the document can be looked into."""
    for name, seen in facts.namespaces.items():
        if isinstance(seen, Unseen):
            yield unknown("namespace", name, seen, "run it as root, with the gateway running")


def _seen(facts: Facts) -> Iterator[NamespaceSeen]:
    yield from (seen for seen in facts.namespaces.values() if isinstance(seen, NamespaceSeen))


def _about(what: str, namespace: str) -> str:
    return f"{what} in {namespace}" if namespace != OWN else what


def _set(seen: NamespaceSeen, setting: str, value: str) -> str:
    """Return the command that changes a setting; in the VM's own namespace it is to last."""
    command = f"sysctl -w net.{setting.replace('/', '.')}={value}"
    if seen.name != OWN:
        return f"ip netns exec {seen.name} {command}"
    return f"{command} (to last: deploy/sysctl.d/60-twinspan.conf as {_SYSCTL_FILE})"


def forwarding(facts: Facts) -> Iterator[Finding]:
    """The kernel forwards the IP versions that the tunnels carry."""
    for seen in _seen(facts):
        carried = versions_of(facts.plan, seen.name) if facts.plan else set()
        for version, setting in SWITCHES.items():
            value, about = seen.settings.get(setting, ""), _about(f"IPv{version}", seen.name)
            if version not in carried:
                continue
            if value == "1":
                yield ok("forwarding", about, "on", "on")
            else:
                found = "off: nothing of hosts behind this gateway is carried"
                yield failure("forwarding", about, found, "on", _set(seen, setting, "1"))


def versions_of(plan: NodePlan, namespace: str) -> set[int]:
    """Return the IP versions that the tunnels and lines of a namespace carry."""
    found = {prefix.version for prefix in prefixes_of(plan, namespace)}
    peers = [peer for r in plan.routing if r.namespace == namespace for peer in r.peers]
    return found | {peer.local.version for peer in peers}


def reverse_path(facts: Facts) -> Iterator[Finding]:
    """The reverse path filter drops nothing that comes by the other path."""
    outer = {path.device for path in facts.paths}
    for seen in _seen(facts):
        everywhere = _number(seen.settings.get("ipv4/conf/all/rp_filter", "0"))
        for name in sorted(seen.names.values()):
            value = _number(seen.settings.get(f"ipv4/conf/{name}/rp_filter", "0"))
            in_effect, about = max(everywhere, value), _about(name, seen.name)
            if _is_tunnel(facts.plan, seen.name, name):
                yield _filter_of_tunnel(seen, about, in_effect, everywhere, name)
            elif seen.name == OWN and name in outer:
                yield _filter_outside(seen, about, in_effect, everywhere, name)


def _is_tunnel(plan: NodePlan | None, namespace: str, interface: str) -> bool:
    tunnels = plan.tunnels if plan else ()
    return any((each.namespace, each.interface) == (namespace, interface) for each in tunnels)


def _filter_of_tunnel(
    seen: NamespaceSeen, about: str, value: int, everywhere: int, name: str
) -> Finding:
    if value == 0:
        return ok("rp_filter", about, "off", "off on tunnels")
    found = f"{_MODES[value]}: what comes by this tunnel is dropped while no route leads back by"
    found += " it, as when answers take the other tunnel" if value == 1 else " any"
    return warning("rp_filter", about, found, "off on tunnels", _no_filter(seen, everywhere, name))


def _filter_outside(
    seen: NamespaceSeen, about: str, value: int, everywhere: int, name: str
) -> Finding:
    if value != 1:
        return ok("rp_filter", about, _MODES[value], "loose or off")
    found = "strict: what a peer sends here is dropped where our route to it leaves elsewhere"
    remedy = _set(seen, f"ipv4/conf/{name}/rp_filter", "2")
    if everywhere == 1:
        remedy = f"{_set(seen, 'ipv4/conf/all/rp_filter', '0')}, then {remedy}"
    return warning("rp_filter", about, found, "loose or off", remedy)


_MODES = {0: "off", 1: "strict", 2: "loose"}


def _no_filter(seen: NamespaceSeen, everywhere: int, name: str) -> str:
    """Return what switches the filter off on a device: the larger of "all" and its own counts."""
    remedy = _set(seen, f"ipv4/conf/{name}/rp_filter", "0")
    return f"{_set(seen, 'ipv4/conf/all/rp_filter', '0')}, then {remedy}" if everywhere else remedy


def _number(text: str) -> int:
    return min(int(text), 2) if text.isdecimal() else 0


def settings(facts: Facts) -> Iterator[Finding]:
    """The settings of deploy/sysctl.d hold."""
    for seen in _seen(facts):
        for setting, (wanted, otherwise) in WANTED_SETTINGS.items():
            value = seen.settings.get(setting, "")
            about = _about(f"net.{setting.replace('/', '.')}", seen.name)
            if value in (wanted, ""):  # "": a kernel without IPv6
                yield ok("sysctl", about, value or "not in this kernel", wanted)
            else:
                remedy = _set(seen, setting, wanted)
                yield warning("sysctl", about, f"{value}: {otherwise}", wanted, remedy)
        yield from _bfd_buffer(facts.plan, seen)


def _bfd_buffer(plan: NodePlan | None, seen: NamespaceSeen) -> Iterator[Finding]:
    value = seen.settings.get(_BFD_BUFFER, "")
    needed = bfd_buffer_bytes(plan, seen.name) if plan else 0
    if not value or not needed:
        return
    about, wanted = _about("net.core.rmem_default", seen.name), f"{needed} or more, for BFD"
    if int(value) >= needed:
        yield ok("sysctl", about, value, wanted)
    else:
        found = f"{value}: on a busy machine BFD packets are lost, and sessions with them"
        remedy = _set(seen, _BFD_BUFFER, str(BFD_BUFFER_BYTES))
        yield warning("sysctl", about, found, wanted, remedy)


def overlaps(facts: Facts) -> Iterator[Finding]:
    """No route of somebody else leads customers' packets past their tunnels."""
    plan = facts.plan
    if plan is None:
        return
    for seen in _seen(facts):
        if isinstance(seen.routes, Unseen):
            yield unknown("routes", _about("routes", seen.name), seen.routes)
            continue
        wanted = prefixes_of(plan, seen.name)
        found = [*_shadows(seen, seen.routes, wanted), *_loops(plan, seen, wanted)]
        yield from found
        yield from _rules(seen)
        if wanted and not found:
            yield ok(
                "routes", _about("routes to customers", seen.name), f"{len(wanted)}, all clear"
            )


def _shadows(
    seen: NamespaceSeen, routes: tuple[FibRoute, ...], wanted: Mapping[Network, str]
) -> Iterator[Finding]:
    for route in routes:
        if route.table != MAIN_TABLE or route.protocol in _OURS or not route.hops:
            continue
        for prefix, connection in wanted.items():
            if prefix.version != route.prefix.version or not route.prefix.subnet_of(prefix):  # type: ignore[arg-type]  # of one version
                continue
            yield _shadow(seen, route, prefix, connection)


def _shadow(seen: NamespaceSeen, route: FibRoute, prefix: Network, connection: str) -> Finding:
    device = seen.names.get(route.hops[0].index, "?")
    about = _about(f"{prefix} of {connection}", seen.name)
    found = f"{route.prefix} dev {device} ({route.protocol}) takes"
    if route.protocol == "kernel":
        found += f" it: {device} has an address within it, so it is local here"
        remedy = f"another prefix for {connection}, or another network on {device}"
        return failure("routes", about, found, "no other route within it", remedy)
    found += " it in clear, past the tunnels"
    enter = f"-n {seen.name} " if seen.name != OWN else ""
    remedy = f"ip {enter}route del {route.prefix} dev {device}"
    if route.metric:
        remedy += f" metric {route.metric}"
    return failure("routes", about, found, "no other route within it", remedy)


def _loops(plan: NodePlan, seen: NamespaceSeen, wanted: Mapping[Network, str]) -> Iterator[Finding]:
    """Yield where a customer's prefix holds a peer: its ESP would go into the tunnel."""
    if seen.name != OWN or isinstance(seen.routes, Unseen):
        return  # ESP leaves from the VM's own namespace
    remotes = {tunnel.remote: tunnel.name for tunnel in plan.tunnels if tunnel.remote}
    for remote, name in remotes.items():
        for prefix, connection in wanted.items():
            if remote.version != prefix.version or remote not in prefix:
                continue
            own = [r for r in seen.routes if remote in r.prefix and r.table == MAIN_TABLE]
            if any(r.prefix.prefixlen > prefix.prefixlen and r.protocol not in _OURS for r in own):
                continue
            about, found = f"peer {remote} of {name}", f"lies within {prefix} of {connection}"
            remedy = f"ip route add {remote}/{remote.max_prefixlen} via GATEWAY dev DEVICE"
            yield failure("routes", about, found, "a route of its own", remedy)


def _rules(seen: NamespaceSeen) -> Iterator[Finding]:
    about = _about("routing rules", seen.name)
    if isinstance(seen.rules, Unseen):
        yield unknown("routes", about, seen.rules)
    elif seen.rules:
        found = f"{seen.rules} beside the kernel's own: they may lead packets past the tunnels"
        yield warning("routes", about, found, "none", "ip rule; remove what is not needed")


def conntrack(facts: Facts) -> Iterator[Finding]:
    """Connection tracking, where it is on, has room."""
    for seen in _seen(facts):
        count, most = (seen.settings.get(name, "") for name in CONNTRACK)
        about = _about("conntrack", seen.name)
        if not count.isdecimal() or not most.isdecimal() or most == "0":
            yield ok("conntrack", about, "not in use")
            continue
        found, wanted = f"{count} of {most} entries", f"below {_CONNTRACK_MAX:.0%}"
        if int(count) <= _CONNTRACK_MAX * int(most):
            yield ok("conntrack", about, found, wanted)
        else:
            remedy = (
                f"{_set(seen, CONNTRACK[1], str(2 * int(most)))}; or no tracking of what only"
                " passes: nft rules with notrack for UDP 500, 4500 and protocol 50"
            )
            yield failure("conntrack", about, f"{found}: new flows are lost", wanted, remedy)
