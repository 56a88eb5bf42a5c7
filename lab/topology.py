"""
Two sites and what lies between them.

    host a --- gw a ===== wan1, wan2 ===== gw b --- host b          four_machines()

    host a --- gw a ===== router ===== gw b --- host b              one_address()

    host a --- gw a === router (NAT) === gw b --- host b            natted()

Outside are 192.0.2.0/24 and 198.51.100.0/24, 2001:db8:1::/64 and 2001:db8:2::/64; inside are
10.10.0.0/24 and 10.20.0.0/24, fd00:10::/64 and fd00:20::/64.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.netns import Lab, Namespace

_WAN4 = ("192.0.2", "198.51.100")
_WAN6 = ("2001:db8:1:", "2001:db8:2:")


@dataclass(frozen=True, slots=True)
class Site:
    """One end: a gateway with its public addresses, and a host behind it."""

    name: str
    gateway: Namespace
    host: Namespace
    public4: tuple[str, ...]
    public6: tuple[str, ...]
    lan4: str  # prefix
    lan6: str
    host4: str
    host6: str

    def public(self, family: int) -> tuple[str, ...]:
        """Return the public addresses of that family."""
        return self.public6 if family == 6 else self.public4

    def lan(self, family: int) -> str:
        """Return the prefix behind the gateway."""
        return self.lan6 if family == 6 else self.lan4

    def host_address(self, family: int) -> str:
        """Return the address of the host behind the gateway."""
        return self.host6 if family == 6 else self.host4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sites, with a router between them where there is one."""

    a: Site
    b: Site
    router: Namespace | None = None


def site(
    lab: Lab,
    name: str,
    public4: tuple[str, ...],
    paths: int,
    machines: tuple[str, str] | None = None,
    mtu: int = 1500,
) -> Site:
    """Make site a or b: a gateway and a host with a wire between them, no way to anywhere else."""
    gateway_name, host_name = machines or (f"gw{name}", f"host{name}")
    gateway, host = lab.namespace(gateway_name), lab.namespace(host_name)
    number = 1 if name == "a" else 2
    net4, net6 = f"10.{number}0.0", f"fd00:{number}0:"
    lab.wire(
        (gateway, "lan", (f"{net4}.1/24", f"{net6}:1/64")),
        (host, "eth0", (f"{net4}.2/24", f"{net6}:2/64")),
        mtu,
    )
    host.route("default", "via", f"{net4}.1")
    host.route("default", "via", f"{net6}:1")
    return Site(
        name=name,
        gateway=gateway,
        host=host,
        public4=public4,
        public6=tuple(f"{net}:{number}" for net in _WAN6[:paths]),
        lan4=f"{net4}.0/24",
        lan6=f"{net6}:/64",
        host4=f"{net4}.2",
        host6=f"{net6}:2",
    )


def four_machines(
    lab: Lab,
    paths: int = 2,
    mtu: int = 1500,
    names: tuple[tuple[str, str], tuple[str, str]] | None = None,
) -> Pair:
    """
    Make two sites joined by one or two wires; site a is .1 and site b is .2 on each.

    `names` are those of the machines, (gateway, host) of site a and of site b. `mtu` is that of
    all wires.
    """
    named = names or (None, None)
    a = site(lab, "a", public4("a", paths), paths, named[0], mtu)
    b = site(lab, "b", public4("b", paths), paths, named[1], mtu)
    for number in range(1, paths + 1):
        path(lab, number, a.gateway, b.gateway, mtu)
    return Pair(a, b)


def path(lab: Lab, number: int, a: Namespace, b: Namespace, mtu: int = 1500) -> None:
    """Make path 1 or 2 between two gateways: device wan1 or wan2 at both, a is .1 and b is .2."""
    net4, net6 = _WAN4[number - 1], _WAN6[number - 1]
    lab.wire(
        (a, f"wan{number}", (f"{net4}.1/24", f"{net6}:1/64")),
        (b, f"wan{number}", (f"{net4}.2/24", f"{net6}:2/64")),
        mtu,
    )


def public4(name: str, paths: int = 2) -> tuple[str, ...]:
    """Return the public IPv4 addresses of site a or b."""
    return tuple(f"{net}.{1 if name == 'a' else 2}" for net in _WAN4[:paths])


def one_address(lab: Lab) -> Pair:
    """
    Make two sites with the internet between them: two ways out at site a, one address at site b.

    Site a sends from each public address by its own wire, as with two providers.
    """
    a = site(lab, "a", public4("a"), 2)
    b = site(lab, "b", ("203.0.113.50",), 1)
    router = lab.namespace("internet")
    for number, net in enumerate(_WAN4, 1):
        wire = f"wan{number}"
        lab.wire((a.gateway, wire, (f"{net}.1/24",)), (router, f"toa{number}", (f"{net}.254/24",)))
        a.gateway.route("default", "via", f"{net}.254", "table", str(number))
        a.gateway.ip("rule", "add", "from", f"{net}.1", "table", str(number))
    lab.wire((b.gateway, "wan1", ("203.0.113.50/24",)), (router, "tob", ("203.0.113.254/24",)))
    for net in _WAN4:
        b.gateway.route(f"{net}.0/24", "via", "203.0.113.254")
    return Pair(a, b, router)


def natted(lab: Lab) -> Pair:
    """
    Make two sites with a router between them, site b on a private address behind the router.

    Site a is 192.0.2.1; the router is 192.0.2.254 toward it and 172.16.0.1 toward b, 172.16.0.2.
    Without rules of `impair.nat()` the router forwards and site a has no route back.
    """
    a = site(lab, "a", ("192.0.2.1",), 1)
    b = site(lab, "b", ("172.16.0.2",), 1)
    router = lab.namespace("router")
    lab.wire((a.gateway, "wan1", ("192.0.2.1/24",)), (router, "out", ("192.0.2.254/24",)))
    lab.wire((router, "in", ("172.16.0.1/24",)), (b.gateway, "wan1", ("172.16.0.2/24",)))
    b.gateway.route("192.0.2.0/24", "via", "172.16.0.1")
    return Pair(a, b, router)


def plain_routes(pair: Pair) -> None:
    """Route between the sites in clear text over the first wire: the yardstick without a tunnel."""
    for here, there in ((pair.a, pair.b), (pair.b, pair.a)):
        here.gateway.route(there.lan4, "via", there.public4[0])
        here.gateway.route(there.lan6, "via", there.public6[0])
