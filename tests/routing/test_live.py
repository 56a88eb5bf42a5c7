"""
Two BIRDs by our configuration, over two wires that stand for tunnels.

    lan a --- a ==== ts-1, ts-2 ==== b --- lan b

Each is held by a process that runs the `Router`, as the gateway process does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.routing.bird import Bird
from gateway.routing.choice import Fate, Judged, judge
from gateway.routing.plan import Hop, Standing
from gateway.routing.state import BgpState
from lab import impair, probe
from lab.commands import Process, wait_for
from lab.netns import Lab, Namespace
from tests.system.support import Since

pytestmark = [pytest.mark.system, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
FIRST, SECOND = "bgp_office-1", "bgp_office-2"
T = TypeVar("T")
NORMAL: Mapping[str, Standing] = {}


@dataclass(slots=True)
class End:
    """One machine with its router process; the plan is a file of Python."""

    machine: Namespace
    number: int  # 1 or 2: the last byte of its addresses
    process: Process | None = None
    starts: int = 0

    @property
    def directory(self) -> Path:
        return self.machine.lab.directory / self.machine.name

    @property
    def bird(self) -> Bird:
        return Bird(self.directory / "bird.sock", timeout_s=2.0)

    def write(self, plan: str, standings: Mapping[str, Standing] = NORMAL) -> None:
        """Write the plan: an expression over `peer(number, **changes)` and `plan_of`."""
        other = 3 - self.number
        (self.directory / "plan.py").write_text(
            f"""
from dataclasses import replace
from ipaddress import ip_address, ip_network
from gateway.routing.plan import Attachment, Bfd, BgpGateway, Hop, RoutingPlan, Standing, StaticWay
from gateway.secret import Secret
from tests.routing.plans import OFFICE, routes_into

def peer(n, **changes):
    return replace(OFFICE, name=f"office-{{n}}", interface=f"ts-{{n}}", preference=99 + n,
        local_asn={65000 + self.number}, asn={65000 + other},
        local=ip_address(f"169.254.1{{n}}.{self.number}"),
        remote=ip_address(f"169.254.1{{n}}.{other}"), **changes)

def plan_of(*peers, statics=(), lans=("10.{self.number}0.0.0/24",)):
    attachment = Attachment("vpc", "lan", tuple(map(ip_network, lans)))
    return RoutingPlan((BgpGateway("main", ip_address("192.0.2.{self.number}"),
        (attachment,), peers, statics, attachment.prefixes),))

plan = {plan}
standings = {{ {", ".join(f"{name!r}: {one}" for name, one in standings.items())} }}
"""
        )

    def start(self) -> None:
        self.starts += 1
        self.process = self.machine.start(
            f"router{self.starts}",
            *(str(ROOT / ".venv/bin/python"), "-m", "tests.routing.node"),
            *(str(self.directory), str(self.directory / "plan.py")),
            env={"PYTHONPATH": str(ROOT)},
        )
        wait_for("the router", lambda: self.says("ready"), 20.0)

    def says(self, text: str) -> bool:
        assert self.process is not None
        assert self.process.is_alive, self.process.tail()
        return text in self.process.log.read_text()

    def apply(self, plan: str, standings: Mapping[str, Standing] = NORMAL) -> None:
        assert self.process is not None
        before = self.process.log.read_text().count("applied")
        self.write(plan, standings)
        self.process.child.send_signal(signal.SIGHUP)
        wait_for("the plan", lambda: self._applied() > before, 10.0)

    def _applied(self) -> int:
        self.says("")
        assert self.process is not None
        return self.process.log.read_text().count("applied")

    def sessions(self) -> dict[str, BgpState]:
        return {one.protocol: one for one in wait(self.bird.sessions())[0]}

    def is_up(self, *protocols: str) -> bool:
        try:
            found = self.sessions()
        except Exception as error:  # it may be starting
            assert "BIRD" in str(error), error  # noqa: PT017
            return False
        return all(name in found and found[name].is_up for name in protocols)

    def wait_up(self, *protocols: str) -> None:
        wait_for(f"{protocols} at {self.machine.name}", lambda: self.is_up(*protocols), 20.0)

    def wait_exported(self, protocol: str, count: int) -> None:
        wait_for(
            f"{count} routes to be told", lambda: self.sessions()[protocol].exported == count, 10.0
        )

    def judged(self) -> list[Judged]:
        return [*judge(wait(self.bird.routes()))]

    def bird_pid(self) -> int:
        """Return the pid of the router's BIRD, 0 while it writes its file."""
        file = self.directory / "bird.pid"
        return int(file.read_text() or 0) if file.exists() else 0

    def kernel(self) -> list[str]:
        """Return the kernel's routes by BIRD."""
        return [
            line.strip() for line in self.machine.ip("route", "show", "proto", "bird").splitlines()
        ]

    def goes_by(self, prefix: str, device: str) -> bool:
        return any(line.startswith(prefix) and f"dev {device}" in line for line in self.kernel())


def since(session: BgpState) -> Since:
    return Since({"since": session.since})


def wait(what: Coroutine[object, object, T]) -> T:
    return asyncio.run(what)


TWO = "plan_of(peer(1), peer(2))"
FEW = (
    "(Attachment('vpc', 'lan', (ip_network('10.20.0.0/24'),"
    " *ip_network('10.64.0.0/18').subnets(new_prefix=20))),)"
)


@pytest.fixture(scope="module")
def ends(lab: Lab) -> tuple[End, End]:
    """Return the two ends with both sessions up."""
    a, b = lab.namespace("a"), lab.namespace("b")
    for n in (1, 2, 3):
        wire = [(m, f"ts-{n}", [f"169.254.1{n}.{i}/30"]) for i, m in ((1, a), (2, b))]
        lab.wire(wire[0], wire[1])
    hosts = [lab.namespace("hosta"), lab.namespace("hostb")]
    for number, (machine, host) in enumerate(zip((a, b), hosts, strict=True), 1):
        lab.wire(
            (machine, "lan", [f"10.{number}0.0.1/24"]), (host, "eth0", [f"10.{number}0.0.2/24"])
        )
        host.route("default", "via", f"10.{number}0.0.1")
    made = End(a, 1), End(b, 2)
    for end in made:
        end.directory.mkdir(mode=0o700)
        end.write(TWO)
        end.start()
    for end in made:
        end.wait_up(FIRST, SECOND)
        wait_for("the route", partial(end.goes_by, f"10.{3 - end.number}0.0.0/24", "ts-1"), 10.0)
    return made


def test_both_ends_learn_and_the_first_tunnel_wins(ends: tuple[End, End]) -> None:
    for end in ends:
        other = f"10.{3 - end.number}0.0.0/24"
        routes = {one.owner.name: one for one in end.judged() if str(one.route.prefix) == other}
        assert routes["office-1"].fate is Fate.BEST
        assert routes["office-2"].fate is Fate.STANDBY
        assert routes["office-2"].why == "preference 100 before 101"
        assert end.goes_by(other, "ts-1")
        assert all("metric 200000" in line for line in end.kernel())


def test_bfd_moves_traffic_off_a_silent_path_within_its_bound(ends: tuple[End, End]) -> None:
    """300 ms x 3 is 0.9 s; twice that is granted to a machine that is busy."""
    a, b = ends
    running = probe.start(
        a.machine.lab.namespaces["hosta"], b.machine.lab.namespaces["hostb"], "10.20.0.2"
    )
    with impair.cut_off(b.machine, "ts-1"):
        for end in ends:
            wait_for("the switch", partial(end.goes_by, f"10.{3 - end.number}0", "ts-2"), 10.0)
    for end in ends:
        end.wait_up(FIRST)
        wait_for("the return", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 20.0)
    seen = running.stop()
    print(f"silence {seen.silence_ms:.0f} ms")
    assert seen.goes_on
    assert 500 < len(seen.lost) * seen.period_ms < 1800


def test_a_lost_carrier_moves_traffic_at_once(ends: tuple[End, End]) -> None:
    a, _ = ends
    hosts = a.machine.lab.namespaces
    running = probe.start(hosts["hosta"], hosts["hostb"], "10.20.0.2")
    a.machine.ip("link", "set", "ts-1", "down")
    for end in ends:
        wait_for("the switch", partial(end.goes_by, f"10.{3 - end.number}0", "ts-2"), 10.0)
    a.machine.ip("link", "set", "ts-1", "up")
    for end in ends:
        end.wait_up(FIRST)
        wait_for("the return", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 20.0)
    seen = running.stop()
    print(f"silence {seen.silence_ms:.0f} ms")
    assert seen.goes_on
    assert len(seen.lost) * seen.period_ms < 200


@pytest.mark.parametrize("standing", [Standing.DEMOTED, Standing.WITHDRAWN])
def test_a_standing_moves_traffic_both_ways_and_no_session(
    ends: tuple[End, End], standing: Standing
) -> None:
    """One end alone says it; nothing is lost on the way there and back."""
    a, b = ends
    hosts = a.machine.lab.namespaces
    before = [end.sessions() for end in ends]
    streams = [
        probe.start(hosts["hosta"], hosts["hostb"], "10.20.0.2"),
        probe.start(hosts["hostb"], hosts["hosta"], "10.10.0.2"),
    ]
    a.apply(TWO, {"office-1": standing})
    for end in ends:
        wait_for("the move", partial(end.goes_by, f"10.{3 - end.number}0", "ts-2"), 10.0)
    a.apply(TWO)
    for end in ends:
        wait_for("the return", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 10.0)
    for one in streams:
        seen = one.stop()
        assert seen.goes_on
        assert not seen.lost
    for end, was in zip(ends, before, strict=True):
        now = end.sessions()
        assert {name: since(now[name]) for name in was} == {name: since(was[name]) for name in was}
    assert all(one.is_up for one in wait(a.bird.bfd()))
    assert b.is_up(FIRST, SECOND)


def test_a_demoted_tunnel_is_used_when_it_is_the_last_and_a_withdrawn_one_is_not(
    ends: tuple[End, End],
) -> None:
    a, b = ends
    alone = "plan_of(peer(1), statics=(routes_into(peer(1), ('172.30.0.0/24', 100)),))"
    a.apply(alone, {"office-1": Standing.DEMOTED})
    b.apply("plan_of(peer(1))")
    a.wait_up(FIRST)
    for prefix in ("10.20.0.0/24", "172.30.0.0/24"):
        wait_for("the last choice", partial(a.goes_by, prefix, "ts-1"), 10.0)
    wait_for("the other end's", partial(b.goes_by, "10.10.0.0/24", "ts-1"), 10.0)
    a.apply(alone, {"office-1": Standing.WITHDRAWN})
    wait_for("no route", lambda: a.kernel() == [] == b.kernel(), 10.0)
    assert a.is_up(FIRST)
    for end in ends:
        end.apply(TWO)
    for end in ends:
        end.wait_up(FIRST, SECOND)
        wait_for("the route", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 10.0)


def test_another_peer_and_other_filters_leave_sessions_alone(ends: tuple[End, End]) -> None:
    a, b = ends
    before = a.sessions()
    a.apply("plan_of(peer(1, prepend=2), peer(2, bfd=Bfd(200, 3)), peer(3))")
    assert "bgp_office-3" in a.sessions()
    b.apply("plan_of(peer(1), peer(2), peer(3))")
    a.wait_up(FIRST, SECOND, "bgp_office-3")
    after = a.sessions()
    for name in (FIRST, SECOND):
        assert since(after[name]) == since(before[name])
    wait_for("the longer AS path", lambda: best_path(b) == ("65001",) * 3, 10.0)
    for end in ends:
        end.apply(TWO)
        wait_for("two sessions", lambda: set(end.sessions()) == {FIRST, SECOND}, 5.0)  # noqa: B023


def best_path(end: End) -> tuple[str, ...]:
    """Return the AS path of the route that the traffic into the tunnels takes."""
    best = [one for one in end.judged() if one.fate is Fate.BEST and one.owner.hop is Hop.VPN]
    return best[0].route.as_path if best else ()


def test_a_session_that_does_not_come_up_says_why_at_both_ends(ends: tuple[End, End]) -> None:
    a, b = ends
    b.apply("plan_of(peer(1), peer(2), peer(3))")
    a.apply("plan_of(peer(1), peer(2), replace(peer(3), asn=64999))")
    for end in ends:
        wait_for(f"the reason at {end.number}", partial(end.says, "bgp_asn_mismatch"), 10.0)
    assert a.says("'ours': 'AS 65001 to AS 64999'")
    b.apply(TWO)
    a.apply("plan_of(peer(1), peer(2), peer(3))")
    wait_for("a peer without BGP", lambda: a.says("bgp_refused") or a.says("bgp_unreach"), 15.0)
    a.apply(TWO)


def test_tunnels_of_equal_preference_share_the_traffic(ends: tuple[End, End]) -> None:
    a, b = ends
    same = "plan_of(peer(1), replace(peer(2), preference=100))"
    for end in ends:
        end.apply(same)
    for end in ends:
        wait_for("two next hops", partial(has_both, end, f"10.{3 - end.number}0.0.0/24"), 10.0)
    found = {one.owner.name: one.fate for one in a.judged() if one.owner.hop is Hop.VPN}
    assert set(found.values()) == {Fate.BEST, Fate.SHARES}
    a.machine.ip("link", "set", "ts-2", "down")
    for end in ends:
        wait_for("the other one", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 10.0)
        assert not has_both(end, f"10.{3 - end.number}0.0.0/24")
    a.machine.ip("link", "set", "ts-2", "up")
    for end in ends:
        end.apply(TWO)
        end.wait_up(FIRST, SECOND)
        wait_for("one", partial(end.goes_by, f"10.{3 - end.number}0", "ts-1"), 10.0)
    b.wait_up(FIRST, SECOND)


def has_both(end: End, prefix: str) -> bool:
    return end.machine.ip("route", "show", prefix, "proto", "bird").count("nexthop") == 2


@pytest.mark.parametrize("isolated", [True, False])
def test_spokes_learn_of_each_other_only_without_isolation(
    ends: tuple[End, End], isolated: bool
) -> None:
    """Machine b is two customers: the office in AS 65002, a branch in AS 65003 by wire three."""
    a, b = ends
    branch = 'replace(peer(3), name="branch-1", connection="branch", {})'
    hub = f"plan_of(peer(1, is_isolated={isolated}),"
    hub += f" {branch.format(f'asn=65003, is_isolated={isolated}')})"
    b.apply(f"plan_of(peer(1), {branch.format('local_asn=65003')})")
    a.apply(hub)
    for end in ends:
        end.wait_up(FIRST, "bgp_branch-1")
    a.wait_exported("bgp_branch-1", 1 if isolated else 2)
    # What comes back is b's own prefix, so it refuses it; but it was told.
    # The office is not told of what it announces itself, which is the better route here.
    heard = set() if isolated else {("branch-1", ("65001", "65002"))}
    wait_for("it to be heard", lambda: refused_from(b) == heard, 10.0)
    for end in ends:
        end.apply(TWO)
    for end in ends:
        end.wait_up(FIRST, SECOND)


def refused_from(end: End) -> set[tuple[str, tuple[str, ...]]]:
    """Return who told a machine what it refused, and with which AS path."""
    return {(one.owner.name, one.route.as_path) for one in end.judged() if one.fate is Fate.REFUSED}


def test_what_a_peer_may_not_announce_is_refused(ends: tuple[End, End]) -> None:
    """Our own prefix, a default route, and more prefixes than allowed; the session stays up."""
    a, b = ends
    lans = (
        "('10.20.0.0/24', '0.0.0.0/0', '10.10.0.128/25', '169.254.99.0/24',"
        " *map(str, ip_network('10.64.0.0/16').subnets(new_prefix=20)))"
    )
    b.apply(f"plan_of(peer(1), peer(2), lans={lans})")
    wait_for("the announcements", lambda: a.sessions()[FIRST].imported > 10, 10.0)
    wrong = {"0.0.0.0/0", "10.10.0.128/25", "169.254.99.0/24"}
    wait_for("what is refused", lambda: refused_by(a) == wrong, 10.0)
    a.apply("plan_of(peer(1, prefix_limit=5), peer(2))")
    wait_for("the limit", lambda: a.sessions()[FIRST].limit_hit, 10.0)
    assert a.sessions()[FIRST].is_up
    wait_for("the warning", lambda: a.says("bgp prefix limit"), 10.0)
    before = since(a.sessions()[FIRST])
    b.apply("plan_of(peer(1), peer(2))")
    wait_for("the end of it", lambda: a.says("bgp prefix limit kept again"), 10.0)
    # What comes later is learned as if nothing had been.
    b.apply(f"RoutingPlan((replace({TWO}.gateways[0], attachments={FEW}),))")
    wait_for("as many as may be", lambda: a.sessions()[FIRST].imported == 5, 10.0)
    assert since(a.sessions()[FIRST]) == before
    for end in ends:
        end.apply(TWO)
        end.wait_up(FIRST, SECOND)


def refused_by(end: End) -> set[str]:
    """Return the prefixes that a machine was told and does not take."""
    return {str(one.route.prefix) for one in end.judged() if one.fate is Fate.REFUSED}


def test_a_bird_of_somebody_else_leaves_our_routes_alone(ends: tuple[End, End]) -> None:
    """Debian starts one when it installs the package; it exports what it has, with metric 32."""
    a, _ = ends
    wait_for("one route alone", lambda: len(a.kernel()) == 1, 10.0)
    before = a.kernel()
    conf = a.directory / "other.conf"
    conf.write_text(
        f'log "{a.directory}/other.log" all;\nrouter id 9.9.9.9;\nprotocol device {{}}\n'
        "protocol kernel { scan time 1; ipv4 { export all; }; }\n"
        "protocol static { ipv4; route 10.99.0.0/16 blackhole; }\n"
    )
    sock = a.directory / "other.sock"
    other = a.machine.start("other", "bird", "-f", "-c", str(conf), "-s", str(sock))
    wait_for("its route", lambda: any("10.99.0.0/16" in line for line in a.kernel()), 10.0)
    # It adds its route at its first scan of the kernel's, and would remove ours at that.
    assert set(before) < set(a.kernel())
    other.stop()
    wait_for("its route to go", lambda: a.kernel() == before, 5.0)
    assert a.is_up(FIRST, SECOND)


def test_a_killed_bird_is_started_again_and_traffic_out_of_it_goes_on(
    ends: tuple[End, End],
) -> None:
    a, b = ends
    pid, routes = a.bird_pid(), a.kernel()
    os.kill(pid, signal.SIGKILL)
    assert a.kernel() == routes
    wait_for("a new BIRD", lambda: a.bird_pid() not in (0, pid) and a.is_up(FIRST, SECOND), 20.0)
    assert a.kernel() == routes
    assert a.says("bird ended")
    assert "-R" in Path(f"/proc/{a.bird_pid()}/cmdline").read_text().split("\0")
    b.wait_up(FIRST, SECOND)


def test_bird_goes_on_without_its_router_and_is_found_again(ends: tuple[End, End]) -> None:
    a, _ = ends
    pid, before = a.bird_pid(), a.sessions()
    assert a.process is not None
    a.process.stop()
    assert a.is_up(FIRST, SECOND)
    a.start()
    assert a.says("bird found")
    assert a.bird_pid() == pid
    assert since(a.sessions()[FIRST]) == since(before[FIRST])
    # It is watched although it is no child of this process.
    os.kill(pid, signal.SIGKILL)
    wait_for("a new BIRD", lambda: a.bird_pid() not in (0, pid) and a.is_up(FIRST, SECOND), 20.0)


def test_a_plan_without_peers_ends_bird_and_its_routes(ends: tuple[End, End]) -> None:
    a, b = ends
    pid = a.bird_pid()
    a.apply("RoutingPlan()")
    assert not Path(f"/proc/{pid}").exists()
    assert a.kernel() == []
    wait_for("the peer to notice", lambda: b.kernel() == [], 10.0)
    a.apply(TWO)
    a.wait_up(FIRST, SECOND)
    # It left nothing in the kernel, so the new one has nothing to recover.
    assert "-R" not in Path(f"/proc/{a.bird_pid()}/cmdline").read_text().split("\0")


def test_a_bird_that_hangs_is_killed_and_started_again(ends: tuple[End, End]) -> None:
    """The router of these tests has a patience of one second, the gateway's has ten."""
    a, _ = ends
    pid = a.bird_pid()
    os.kill(pid, signal.SIGSTOP)
    wait_for("its end", lambda: a.says("bird hangs"), 20.0)
    wait_for("a new BIRD", lambda: a.bird_pid() not in (0, pid) and a.is_up(FIRST, SECOND), 20.0)


def test_ipv6_is_routed_by_a_session_over_ipv6(ends: tuple[End, End]) -> None:
    for end in ends:
        end.machine.address("ts-3", f"fd00:3::{end.number}/126")
        end.machine.address("lan", f"fd00:{end.number}0::1/64")
    for end in ends:
        local, remote = (f"ip_address('fd00:3::{n}')" for n in (end.number, 3 - end.number))
        six = f"replace(peer(3), name='six', local={local}, remote={remote})"
        end.apply(f"plan_of(peer(1), peer(2), {six}, lans=('fd00:{end.number}0::/64',))")
    for end in ends:
        end.wait_up(FIRST, SECOND, "bgp_six")
        prefix = f"fd00:{3 - end.number}0::/64"
        wait_for("the route", partial(has_route6, end, prefix), 10.0)
    (session,) = [one for one in wait(ends[0].bird.bfd()) if one.interface == "ts-3"]
    assert (session.address, session.is_up) == ("fd00:3::2", True)
    for end in ends:
        end.apply(TWO)


def has_route6(end: End, prefix: str) -> bool:
    route = end.machine.ip("-6", "route", "show", prefix, "proto", "bird")
    return "via fd00:3::" in route and "metric 200000" in route
