"""What every Linux device has in common: BIRD's and FRR's configuration, routes, identities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from gateway.customer.device import File, Job
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import Words
from gateway.customer.text import commented
from gateway.ike.names import TOKENS
from gateway.model.tunnels import Selectors
from gateway.model.types import AnyNetwork

NAMES = {name: name for name in TOKENS}
# Everything that the gateway itself can do, by the same names.
ALL = Words(NAMES, NAMES, NAMES, NAMES, esn=True)
LONGEST_S = 1 << 31  # seconds that an SA may live
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
BIRD_CONF, FRR_CONF = "bird.conf", "frr.conf"

Interface = Callable[[SheetTunnel], str]


def if_id(tunnel: SheetTunnel) -> int:
    """Return the number that joins a tunnel's SAs with its interface: of the name alone."""
    return 1 + int(sha256(tunnel.name.encode()).hexdigest()[:6], 16)


def metric(tunnel: SheetTunnel) -> int:
    """Return the metric of a tunnel's static routes: by rank, and never that of another tunnel."""
    return 10 * tunnel.rank + tunnel.number


def head(job: Job, *lines: str, mark: str = "#") -> str:
    """Return the comment at the head of a file, without the last line's end."""
    return commented([*job.title(), *lines], mark).rstrip()


def bird(job: Job, tunnels: Sequence[SheetTunnel], interface: Interface) -> File:
    """Return BIRD's configuration, for 2.0.12 and later."""

    def own(family: int) -> str:
        return _within(prefix for prefix in job.device_prefixes if prefix.version == family)

    def cloud(family: int) -> str:
        found = _within(one for one in job.sheet.cloud_prefixes if one.version == family)
        return f"net ~ [ {found} ] || " if found else ""

    where = "/etc/bird/bird.conf (Debian's package bird2)"
    text = job.text(
        BIRD_CONF,
        head=head(job, where),
        chosen=tunnels,
        families=families(tunnels),
        rhythms=_rhythms(tunnels, interface),
        interface=interface,
        own=own,
        cloud=cloud,
    )
    return File(BIRD_CONF, text, is_secret=_has_password(job, tunnels))


def _within(prefixes: Iterable[AnyNetwork]) -> str:
    """Return a set of BIRD's: some prefixes, each with all its more specific ones."""
    return ", ".join(f"{prefix}+" for prefix in prefixes)


def _rhythms(
    tunnels: Sequence[SheetTunnel], interface: Interface
) -> list[tuple[str, tuple[int, int]]]:
    """Return how BFD runs on each tunnel, and, as on the first, on all other interfaces."""
    found = [(interface(one), one.bgp.bfd) for one in tunnels if one.bgp and one.bgp.bfd]
    named = [(name, rhythm) for name, rhythm in found if rhythm]
    return [*named, ("*", named[0][1])] if named else []


def frr(job: Job, tunnels: Sequence[SheetTunnel], interface: Interface) -> File:
    """Return FRR's configuration, for 8.4 and later."""
    where = "/etc/frr/frr.conf; in /etc/frr/daemons: bgpd=yes and bfdd=yes"
    text = job.text(
        FRR_CONF,
        head=head(job, where, mark="!"),
        chosen=tunnels,
        families=families(tunnels),
        interface=interface,
    )
    return File(FRR_CONF, text, is_secret=_has_password(job, tunnels))


def families(tunnels: Sequence[SheetTunnel]) -> list[int]:
    """Return the IP versions inside the tunnels."""
    return sorted({one.device_inner.version for one in tunnels if one.device_inner})


def selectors(job: Job, tunnel: SheetTunnel) -> list[Selectors]:
    """
    Return a tunnel's selectors, the device's and the cloud's; of "everything" the IP versions used.

    A device without an address of a version can not have selectors of it.
    """
    if job.sheet.mode == "policy":
        return list(tunnel.selectors)
    prefixes = (*job.sheet.cloud_prefixes, *job.sheet.device_prefixes)
    used = [*families([tunnel]), *(prefix.version for prefix in prefixes)]
    unused = {every for version, every in EVERYTHING.items() if version not in used}
    return [
        (
            tuple(text for text in device if text not in unused),
            tuple(text for text in cloud if text not in unused),
        )
        for device, cloud in tunnel.selectors
    ]


def _has_password(job: Job, tunnels: Sequence[SheetTunnel]) -> bool:
    return job.options.secrets and any(job.password(one) for one in tunnels)


def routes(job: Job, tunnel: SheetTunnel, device: str) -> tuple[list[str], list[str]]:
    """
    Return shell commands that make and remove a tunnel's static routes, with its Child SA.

    None with BGP, which has its routes elsewhere.
    """
    prefixes = () if job.sheet.mode == "bgp" else job.sheet.cloud_prefixes
    ways = [f"{prefix} dev {device} metric {metric(tunnel)}" for prefix in prefixes]
    return [f"ip route replace {way}" for way in ways], [f"ip route del {way}" for way in ways]
