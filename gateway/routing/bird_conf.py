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
- The retry timers are 1 s instead of minutes, and an error costs no pause of its own: after a
  repair traffic comes back. A pause would keep out a peer whose BIRD was killed: BFD says that the
  old one is gone, which is such an error, just when the new one calls.
- Routes in the kernel have a metric of their own, above those of static connections (static wins
  over learned), so BIRD touches no route of anybody else, other BIRDs included.
- `strict bind`: port 179 is open on the tunnels' inner addresses only.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.routing.bird_filters import ATTRIBUTES, filters, refusals, spoke
from gateway.routing.names import ANNOUNCE, announce_name, session_name, static_name
from gateway.routing.order import ATTACHED, cost, static_preference
from gateway.routing.plan import (
    NO_STANDINGS,
    Attachment,
    Bfd,
    BgpGateway,
    BgpPeer,
    Hop,
    RoutingPlan,
    Standing,
    Standings,
    StaticWay,
)
from gateway.routing.text import block, closed

KERNEL_METRIC = 200_000
ECMP_LIMIT = 8  # tunnels of one connection
RECOVERY_S = 5  # how long a restarted BIRD waits for sessions before it changes kernel routes
LOG_BYTES = 1 << 20
NETLINK_BUFFER_BYTES = 16 << 20  # or the kernel drops messages at 500 tunnels


def bird_conf(plan: RoutingPlan, log: str, standings: Standings = NO_STANDINGS) -> str:
    """
    Return BIRD's configuration for `plan`, which has gateways; `log` is the file it logs to.

    Another standing of a tunnel changes filters and static routes, never a session.
    """
    families = _families(plan)
    blocks = [
        _head(plan, log),
        *(_kernel(family) for family in families),
        *_bfd(plan),
        *refusals(plan, families),
        _template(),
    ]
    for at, gateway in enumerate(plan.gateways, 1):
        for attachment in gateway.attachments:
            blocks += _announce(attachment, at, families)
        for way in gateway.statics:
            blocks += _static(at, way, standings.get(way.name, Standing.NORMAL))
        for peer in gateway.peers:
            standing = standings.get(peer.name, Standing.NORMAL)
            if peer.hop is Hop.ATTACHMENT:  # it may have the name of a tunnel, and is none
                standing = Standing.NORMAL
            blocks.append(_session(gateway, at, peer, standing))
    return "\n".join(blocks)


def _families(plan: RoutingPlan) -> list[int]:
    spoken = {peer.local.version for peer in plan.peers}
    return sorted(spoken | {way.family for way in plan.statics})


def _head(plan: RoutingPlan, log: str) -> str:
    return (
        f'log "{log}" {LOG_BYTES} "{log}.1" {{ info, warning, error, fatal, bug, auth, remote }};\n'
        f"router id {plan.gateways[0].router_id};\n"
        f"graceful restart wait {RECOVERY_S};\n"
        "timeformat protocol iso long ms;\n"
        "timeformat route iso long ms;\n"
        f"{ATTRIBUTES}\n"
        "protocol device {\n\tscan time 10;\n}\n"
    )


def _kernel(family: int) -> str:
    export = f'import none;\nexport where ! (proto ~ "{ANNOUNCE}*");'
    return block(
        f"protocol kernel kernel{family}",
        [
            f"metric {KERNEL_METRIC};",
            "graceful restart yes;",
            "persist yes;",
            f"netlink rx buffer {NETLINK_BUFFER_BYTES};",
            f"merge paths on limit {ECMP_LIMIT};",
            closed(f"ipv{family}", [export]),
        ],
    )


def _bfd(plan: RoutingPlan) -> Iterator[str]:
    """Yield the one BFD protocol, if any peer wants it: devices with equal values together."""
    groups: dict[Bfd, dict[str, None]] = {}
    ways: tuple[BgpPeer | StaticWay, ...] = (*plan.peers, *plan.statics)
    for one in ways:
        if one.bfd is not None:
            groups.setdefault(one.bfd, {})[f'"{one.interface}"'] = None
    lines = [
        closed(
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
        yield block("protocol bfd", ["accept direct;", *lines])


def _template() -> str:
    return block(
        "template bgp peer",
        [
            "direct;",
            "strict bind yes;",
            "graceful restart aware;",
            "connect delay time 1;",
            "connect retry time 1;",
            "error wait time 0, 1;",
            "error forget time 5;",
        ],
    )


def _announce(attachment: Attachment, at: int, families: list[int]) -> Iterator[str]:
    for family in families:
        prefixes = [prefix for prefix in attachment.prefixes if prefix.version == family]
        if prefixes:
            marks = f"border_gateway = {at}; spoke = OURS; way_cost = 0;"
            routes = [
                f'route {prefix} via "{attachment.interface}" {{ {marks} }};' for prefix in prefixes
            ]
            head = f"protocol static '{announce_name(attachment, at, family)}'"
            channel = f"ipv{family} {{ preference {ATTACHED}; }};"
            yield block(head, [channel, "check link yes;", *routes])


def _static(at: int, way: StaticWay, standing: Standing) -> Iterator[str]:
    """Yield the static routes by a tunnel or line: gone with the carrier or with BFD."""
    if standing is Standing.WITHDRAWN:
        return
    is_last = standing is Standing.DEMOTED
    via = f'"{way.interface}"' if way.gateway is None else f"{way.gateway}"
    via += " bfd" if way.bfd and way.gateway else ""
    routes = [
        f"route {prefix} via {via} {{"
        f" preference = {static_preference(way.hop, total, is_demoted=is_last)};"
        f" border_gateway = {at}; spoke = {spoke(way)};"
        f" way_cost = {cost(way.hop, total, is_demoted=is_last)}; }};"
        for prefix, total in way.routes
    ]
    head = f"protocol static '{static_name(way)}'"
    yield block(head, [f"ipv{way.family};", "check link yes;", *routes])


def _authentication(peer: BgpPeer) -> list[str]:
    """Return how the segments of a session prove where they are from, if they do."""
    if peer.password is None:
        return []
    secret = peer.password.reveal().decode()
    if peer.ao is None:
        return [f'password "{secret}";']
    algorithm = peer.ao.algorithm.replace("-", " ")
    key = [f"id {peer.ao.key_id};", f'secret "{secret}";', f"algorithm {algorithm};", "preferred;"]
    return ["authentication ao;", closed("keys", [closed("key", key)])]


def _session(gateway: BgpGateway, at: int, peer: BgpPeer, standing: Standing) -> str:
    family = peer.local.version
    return block(
        f"protocol bgp '{session_name(peer)}' from peer",
        [
            f'interface "{peer.interface}";',
            f"local {peer.local} as {peer.local_asn};",
            f"neighbor {peer.remote} as {peer.asn};",
            f"router id {gateway.router_id};",
            f"hold time {peer.hold_s};",
            f"keepalive time {peer.keepalive_s};",
            f"bfd {'on' if peer.bfd else 'off'};",
            *_authentication(peer),
            closed(
                f"ipv{family}",
                [
                    "next hop self;",
                    "import keep filtered on;",
                    f"receive limit {peer.prefix_limit} action block;",
                    *filters(gateway, at, peer, standing),
                ],
            ),
        ],
    )
