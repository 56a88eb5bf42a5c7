"""
From a routing plan to the text of BIRD's configuration (2.0.12 and later). Pure.

The text depends on the plan alone and names every protocol after its tunnel, so BIRD, which
compares the old with the new configuration, touches only what has changed.

What the options are for, where it is not plain:

- `graceful restart aware` with `bfd on`: a peer that BFD has lost is left at once. With
  `bfd graceful` its routes would be kept, and traffic lost, until a timer ends.
- The kernel protocols' `graceful restart` and `persist`: routes stay in the kernel while BIRD is
  away. A recovering BIRD waits for all sessions, but a tunnel may be down for long, so the wait is
  short.
- The retry and error timers are 1 or 2 s instead of minutes: after a repair traffic comes back.
- Routes in the kernel have a metric of their own, above those of static connections (static wins
  over learned), so BIRD touches no route of anybody else, other BIRDs included.
- `strict bind`: port 179 is open on the tunnels' inner addresses only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from gateway.routing.plan import (
    NO_STANDINGS,
    Attachment,
    Bfd,
    BgpGateway,
    BgpPeer,
    RoutingPlan,
    Standing,
    Standings,
)

KERNEL_METRIC = 200_000  # above the metrics of static connections, at most 120,000
LOCAL_PREF_BASE = 200_000  # BGP prefers the higher value; a tunnel's preference is at most 60,000
DEMOTION = 100_000  # what a DEMOTED tunnel's preference is worse by, for LOCAL_PREF and MED
DEMOTED_PREPENDS = 3  # for a peer that looks at neither MED nor GRACEFUL_SHUTDOWN
GRACEFUL_SHUTDOWN = "(65535, 0)"  # RFC 8326: who hears it prefers every other way
# BIRD's own preferences, 16 bits, the higher wins: attachments, then static routes, then BGP's 100.
ATTACHED_PREFERENCE = 65_535
STATIC_PREFERENCE = 65_400  # less the route's preference, at most STATIC_SUM_MAX
STATIC_SUM_MAX = 65_000
STATIC_DEMOTED = 50  # below BGP
ECMP_LIMIT = 8  # tunnels of one connection
RECOVERY_S = 5  # how long a restarted BIRD waits for sessions before it changes kernel routes
LOG_BYTES = 1 << 20
NETLINK_BUFFER_BYTES = 16 << 20  # or the kernel drops messages at 500 tunnels

BGP, STATIC, ANNOUNCE = "bgp_", "static_", "announce_"  # what protocol names begin with

_GOES_NOWHERE = {
    # RFC 6890: what no customer can announce. fe80::/10 and 169.254/16 are links, the tunnels too.
    4: ("0.0.0.0/8+", "127.0.0.0/8+", "169.254.0.0/16+", "224.0.0.0/3+"),
    6: ("::/8+", "fe80::/10+", "ff00::/8+"),
}
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


def bird_conf(plan: RoutingPlan, log: str, standings: Standings = NO_STANDINGS) -> str:
    """
    Return BIRD's configuration for `plan`, which has gateways; `log` is the file it logs to.

    Another standing of a tunnel changes filters and static routes, never a session.
    """
    families: list[int] = sorted({peer.local.version for peer in plan.peers})
    blocks = [
        _head(plan, log),
        *(_kernel(family) for family in families),
        *_bfd(plan.peers),
        *(_refused(plan, gateway, at, v) for at, gateway in _numbered(plan) for v in families),
        _template(),
    ]
    for at, gateway in _numbered(plan):
        for attachment in gateway.attachments:
            blocks += _announce(attachment, at, families)
        for peer in gateway.peers:
            standing = standings.get(peer.tunnel, Standing.NORMAL)
            blocks += [*_static(at, peer, standing), _session(gateway, at, peer, standing)]
    return "\n".join(blocks)


def _numbered(plan: RoutingPlan) -> Iterator[tuple[int, BgpGateway]]:
    return enumerate(plan.gateways, 1)


def _block(head: str, lines: Iterable[str]) -> str:
    body = "".join(f"\t{line}\n" for text in lines for line in text.splitlines())
    return f"{head} {{\n{body}}}\n"


def _closed(head: str, lines: Iterable[str]) -> str:
    """Return a block where BIRD's grammar has a semicolon behind it."""
    return _block(head, lines).rstrip() + ";"


def _head(plan: RoutingPlan, log: str) -> str:
    return (
        f'log "{log}" {LOG_BYTES} "{log}.1" {{ info, warning, error, fatal, bug, auth, remote }};\n'
        f"router id {plan.gateways[0].router_id};\n"
        f"graceful restart wait {RECOVERY_S};\n"
        "timeformat protocol iso long ms;\n"
        "timeformat route iso long ms;\n"
        "attribute int border_gateway;\n\n"
        "protocol device {\n\tscan time 10;\n}\n"
    )


def _kernel(family: int) -> str:
    export = f'import none;\nexport where source = RTS_BGP || proto ~ "{STATIC}*";'
    return _block(
        f"protocol kernel kernel{family}",
        [
            f"metric {KERNEL_METRIC};",
            "graceful restart yes;",
            "persist yes;",
            f"netlink rx buffer {NETLINK_BUFFER_BYTES};",
            f"merge paths on limit {ECMP_LIMIT};",
            _closed(f"ipv{family}", [export]),
        ],
    )


def _bfd(peers: tuple[BgpPeer, ...]) -> Iterator[str]:
    """Yield the one BFD protocol, if any tunnel wants it: tunnels with equal values together."""
    groups: dict[Bfd, list[str]] = {}
    for peer in peers:
        if peer.bfd is not None:
            groups.setdefault(peer.bfd, []).append(f'"{peer.interface}"')
    lines = [
        _closed(
            f"interface {', '.join(interfaces)}",
            [
                f"min rx interval {bfd.interval_ms} ms;",
                f"min tx interval {bfd.interval_ms} ms;",
                "idle tx interval 1 s;",
                f"multiplier {bfd.multiplier};",
            ],
        )
        for bfd, interfaces in groups.items()
    ]
    if lines:
        yield _block("protocol bfd", ["accept direct;", *lines])


def _template() -> str:
    return _block(
        "template bgp tunnel",
        [
            "direct;",
            "strict bind yes;",
            "graceful restart aware;",
            "connect delay time 1;",
            "connect retry time 1;",
            "error wait time 1, 2;",
            "error forget time 5;",
        ],
    )


def _refused(plan: RoutingPlan, gateway: BgpGateway, at: int, family: int) -> str:
    """
    Return the function that says what no peer of a Border Gateway may announce.

    Those are what goes nowhere, our own prefixes, and what would lead a tunnel elsewhere.
    """
    ours = [
        f"{prefix}+"
        for attachment in gateway.attachments
        for prefix in attachment.prefixes
        if prefix.version == family and prefix.prefixlen  # who announces a default takes all else
    ]
    inner = [f"{network}+" for network in plan.inner if network.version == family]
    outer = [f"{ip_network(a)}-" for a in plan.outer if a.version == family]
    # The default route holds every outer address; whether it is taken is said by `accepted`.
    outside = [f"(net != {_DEFAULT[family]} && {_in(outer)})"] if outer else []
    refused = [_in([*_GOES_NOWHERE[family], *ours, *inner]), *outside]
    return _block(f"function refused_{at}_{family}()", [f"return {' || '.join(refused)};"])


def _in(patterns: Iterable[str]) -> str:
    return f"net ~ [ {', '.join(dict.fromkeys(patterns))} ]"


def _announce(attachment: Attachment, at: int, families: list[int]) -> Iterator[str]:
    for family in families:
        prefixes = [prefix for prefix in attachment.prefixes if prefix.version == family]
        if prefixes:
            routes = [
                f'route {prefix} via "{attachment.interface}" {{ border_gateway = {at}; }};'
                for prefix in prefixes
            ]
            name = f"'{ANNOUNCE}{at}_{family}_{attachment.name}'"
            channel = f"ipv{family} {{ preference {ATTACHED_PREFERENCE}; }};"
            yield _block(f"protocol static {name}", [channel, "check link yes;", *routes])


def _static(at: int, peer: BgpPeer, standing: Standing) -> Iterator[str]:
    """Yield the static routes into a tunnel: before BGP, gone with the carrier or with BFD."""
    if not peer.static_routes or standing is Standing.WITHDRAWN:
        return
    is_last = standing is Standing.DEMOTED
    via = f"via {peer.remote}{' bfd' if peer.bfd else ''}"
    routes = [
        f"route {prefix} {via} "
        f"{{ preference = {STATIC_DEMOTED if is_last else STATIC_PREFERENCE - total};"
        f" border_gateway = {at}; }};"
        for prefix, total in peer.static_routes
    ]
    head = f"protocol static '{STATIC}{peer.tunnel}'"
    yield _block(head, [f"ipv{peer.local.version};", "check link yes;", *routes])


def _session(gateway: BgpGateway, at: int, peer: BgpPeer, standing: Standing) -> str:
    family = peer.local.version
    password = [f'password "{peer.password.reveal().decode()}";'] if peer.password else []
    return _block(
        f"protocol bgp '{BGP}{peer.tunnel}' from tunnel",
        [
            f'interface "{peer.interface}";',
            f"local {peer.local} as {peer.local_asn};",
            f"neighbor {peer.remote} as {peer.asn};",
            f"router id {gateway.router_id};",
            f"hold time {peer.hold_s};",
            f"keepalive time {peer.keepalive_s};",
            f"bfd {'on' if peer.bfd else 'off'};",
            *password,
            _closed(
                f"ipv{family}",
                [
                    "next hop self;",
                    "import keep filtered on;",
                    f"receive limit {peer.prefix_limit} action block;",
                    *_filters(gateway, at, peer, standing),
                ],
            ),
        ],
    )


def _filters(gateway: BgpGateway, at: int, peer: BgpPeer, standing: Standing) -> list[str]:
    if standing is Standing.WITHDRAWN:
        return ["import none;", "export none;"]
    is_last = standing is Standing.DEMOTED
    return [_import_filter(peer, at, is_last), _export_filter(gateway, at, peer, is_last)]


def _import_filter(peer: BgpPeer, at: int, is_last: bool) -> str:
    family = peer.local.version
    accepted = [f"{prefix}+" for prefix in peer.accepted if prefix.version == family]
    if accepted:
        taken = f"if ! ({_in(accepted)}) then reject;"
    elif peer.accepted:
        taken = "reject;"
    else:
        taken = f"if net = {_DEFAULT[family]} then reject;"
    return _closed(
        "import filter",
        [
            f"if refused_{at}_{family}() then reject;",
            taken,
            *_local_pref(peer, is_last),
            f"border_gateway = {at};",
            "accept;",
        ],
    )


def _local_pref(peer: BgpPeer, is_last: bool) -> list[str]:
    """Return how much we like the peer's routes; less where the peer asks for it (RFC 8326)."""
    usual = LOCAL_PREF_BASE - peer.preference
    least = f"bgp_local_pref = {usual - DEMOTION};"
    if is_last:
        return [least]
    asked = f"if {GRACEFUL_SHUTDOWN} ~ bgp_community then {least}"
    return [f"bgp_local_pref = {usual};", asked]


def _export_filter(gateway: BgpGateway, at: int, peer: BgpPeer, is_last: bool) -> str:
    told = [f'proto ~ "{ANNOUNCE}*"']
    if not gateway.spoke_isolation:
        told += _spokes(gateway, peer)
    steer = [f"bgp_med = {peer.preference + DEMOTION * is_last};"]
    steer += [f"bgp_community.add({GRACEFUL_SHUTDOWN});"] * is_last
    prepends = peer.prepend + DEMOTED_PREPENDS * is_last
    steer += [f"bgp_path.prepend({peer.local_asn});"] * prepends
    return _closed(
        "export filter",
        [
            "if ! defined(border_gateway) then reject;",
            f"if border_gateway != {at} then reject;",
            _block(f"if {' || '.join(told)} then", [*steer, "accept;"]),
            "reject;",
        ],
    )


def _spokes(gateway: BgpGateway, peer: BgpPeer) -> Iterator[str]:
    """Yield what a peer is told of without spoke isolation: other connections' routes."""
    yield f"(source = RTS_BGP && ! (bgp_path ~ [= * {peer.asn} * =]))"
    for other in gateway.peers:
        if other.connection != peer.connection and other.static_routes:
            yield f'proto = "{STATIC}{other.tunnel}"'
