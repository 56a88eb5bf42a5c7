"""
Two control processes on an etcd of three members; one process and the leading member are killed.

Clients create VPN Connections side by side, each creation with an Idempotency-Key of its own. Who
gets no answer, or is told that the store is not there, asks the other process the same.
"""

from __future__ import annotations

import itertools
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.beds import resources
from bench.beds.planes import Found, Say
from lab.commands import LabError
from lab.control import Api, Control, Refused, Table, Unanswered
from lab.etcd import Etcd, make_cluster
from lab.netns import Lab, Namespace

CLIENTS = 4
PATIENCE_S = 60.0
AGAIN_S = 0.05


class Loopback(Namespace):
    """This machine itself, for processes that speak on its loopback alone."""

    def argv(self, *argv: str) -> list[str]:
        """Return the command as it is."""
        return list(argv)


@dataclass(slots=True)
class Creations:
    """What the clients were answered, and when."""

    answers: dict[str, str] = field(default_factory=dict)  # id by name
    done_at: list[float] = field(default_factory=list)
    repeated: int = 0  # creations that were asked for more than once
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: Table, asked: int) -> None:
        """Keep an answer."""
        with self.lock:
            self.answers[str(answer["name"])] = str(answer["id"])
            self.done_at.append(time.monotonic())
            self.repeated += asked > 1

    def gap_s(self, after: float, until: float) -> float:
        """Return the longest time without an answer that ended within a span."""
        pairs = itertools.pairwise(sorted(self.done_at))
        return max((b - a for a, b in pairs if after < b <= until), default=0.0)


def etcd(lab: Lab, connections: int, say: Say) -> Found:
    """Return the figures of creations while a process and a member of etcd are killed."""
    folder = lab.directory / "etcd"
    folder.mkdir()
    members = make_cluster(folder, 3)
    try:
        return _with(lab, members, connections, say)
    finally:
        for member in members:
            member.kill()


def _with(lab: Lab, members: Sequence[Etcd], connections: int, say: Say) -> Found:
    controls = _start(lab, members)
    api = controls[0].api()
    for name, host in (("gw-a", 11), ("gw-b", 12)):
        api.create("nodes", name=name, public_addresses=[f"198.51.100.{host}"])
    resources.plant(controls[0])
    say(f"etcd: creating {connections} Customer Gateways")
    for number in range(connections):
        api.create("customer-gateways", **resources.customer(number))
    made = Creations()
    say(f"etcd: creating {connections} connections by {CLIENTS} clients at two processes")
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        numbers = [range(first, connections, CLIENTS) for first in range(CLIENTS)]
        working = [
            pool.submit(_create, controls, at % 2, mine, made) for at, mine in enumerate(numbers)
        ]
        killed = _when(made, connections // 3, controls[0].kill, "a control process", say)
        leader = _leader(members)
        stopped = _when(made, 2 * connections // 3, leader.kill, "the leading etcd", say)
        for one in working:
            one.result()
    took = time.monotonic() - began
    controls[0].start()
    return {
        "etcd.created": len(made.answers),
        "etcd.per_s": round(connections / took, 1),
        "etcd.asked_again": made.repeated,
        "etcd.gap_control_s": round(made.gap_s(killed, stopped), 2),
        "etcd.gap_member_s": round(made.gap_s(stopped, time.monotonic()), 2),
        **_judged(controls, made, connections),
    }


def _start(lab: Lab, members: Sequence[Etcd]) -> list[Control]:
    """Return two control processes with one store and one key."""
    store = "etcd:" + ",".join(member.target for member in members)
    key = lab.directory / "master.key"
    return [
        Control(Loopback(lab, name), "--listen", "127.0.0.1:0", store=store, key_file=key).start()
        for name in ("control-a", "control-b")
    ]


def _create(
    controls: Sequence[Control], first: int, numbers: Sequence[int], made: Creations
) -> None:
    """Create connections, each until it is answered: at one process, else at the other."""
    apis = [control.api() for control in controls]
    at = first
    for number in numbers:
        end = time.monotonic() + PATIENCE_S
        for asked in itertools.count(1):
            try:
                made.add(_ask(apis[at], number), asked)
                break
            except (Unanswered, Refused) as error:
                if isinstance(error, Refused) and error.status != 503:
                    raise
                if time.monotonic() > end:
                    raise LabError(f"connection {number}: {error}") from error
                at = 1 - at
                time.sleep(AGAIN_S)


def _ask(api: Api, number: int) -> Table:
    key = {"Idempotency-Key": f"bench-{number}"}
    return api.ask("POST", "vpn-connections", resources.connection(number), None, key)


def _when(made: Creations, count: int, act: Callable[[], None], what: str, say: Say) -> float:
    """Do something once that many are created; return when, in monotonic seconds."""
    end = time.monotonic() + PATIENCE_S + count
    while len(made.done_at) < count:
        if time.monotonic() > end:
            raise LabError(f"only {len(made.done_at)} connections, waited for {count}")
        time.sleep(0.002)
    say(f"etcd: {len(made.done_at)} created, {what} is killed")
    at = time.monotonic()
    act()
    return at


def _leader(members: Sequence[Etcd]) -> Etcd:
    """Return the member that leads, by its metrics. Raises LabError."""
    for member in members:
        with urllib.request.urlopen(f"http://{member.target}/metrics", timeout=5.0) as answer:
            if b"\netcd_server_is_leader 1\n" in answer.read():
                return member
    raise LabError("no member of etcd leads")


def _judged(controls: Sequence[Control], made: Creations, connections: int) -> Found:
    """Return what is lost or double, as both processes show it in the end."""
    lost, double = 0, 0
    for control in controls:
        api = control.api()
        shown = {str(one["name"]): str(one["id"]) for one in api.all("vpn-connections")}
        lost += sum(shown.get(name) != id for name, id in made.answers.items())
        lost += connections - len(made.answers)
        double += len(shown) - len(made.answers)
        tunnels = api.all("vpn-tunnels")
        lost += 2 * connections - len(tunnels)
        double += _repeats((one["local_address"], one["remote_address"]) for one in tunnels)
        double += _repeats(one["inner_cidr"] for one in tunnels)
    return {"etcd.lost": lost, "etcd.double": double}


def _repeats(values: object) -> int:
    """Return how many of some values have come before."""
    return sum(count - 1 for count in Counter(values).values())  # type: ignore[call-overload]
