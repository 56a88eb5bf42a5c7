"""
Random failures of two of our gateways, and the question whether all is right again afterwards.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b

A round lets things fail and heal in random order: paths, processes, peers, documents, several at a
time. Then everything is healed, and within a bound all must be as it was at the start: routes,
tunnels, sessions, traffic both ways; and nothing may have leaked. The seed decides the rounds; the
same seed lets the same things fail in the same order.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lab import impair, lasting, sites, stream, twins
from lab.commands import LabError, end_cleanly, wait_for
from lab.inventory import Inventory, leaks, take
from lab.netns import Lab
from lab.twins import Twins
from lab.twinspan import Twinspan, Value

_STEPS = (6, 14)  # of a round, without those that heal what is left
_PAUSE_S = (0.1, 3.0)  # between two steps
_ENDS = 0.45  # how often a step heals, where it could as well begin something
_HEALED_S = 90.0  # by then everything is right again
_TRAFFIC_S = 2.0
# Edits of one end's document; what they say is right, or at least harmless, at one end alone.
_EDITS: tuple[Mapping[str, Value], ...] = (
    {"child_lifetime_s": 600},
    {"liveness_s": 5},
    {"encap": "auto"},
    {"bgp_hold_s": 9},
    {"bfd": "200x3"},
    {"mtu": 1300},
    {"rate_mbps": 500},
    {"workers": 2},
    {"esp_proposals": ["aes128gcm16-x25519", "aes256gcm16-x25519"]},
)


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that can fail: `begin` lets it, `end` heals it.

    At one `place` one thing fails at a time, and while `without` is failing nothing begins or ends
    that needs it.
    """

    name: str
    place: str
    begin: Callable[[], object]
    end: Callable[[], object]
    without: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """After a pause a fault begins, or ends."""

    pause_s: float
    fault: Fault
    begins: bool

    def __str__(self) -> str:
        return f"{self.fault.name}{'' if self.begins else ': healed'}"


def steps(dice: random.Random, faults: Sequence[Fault]) -> Iterator[Step]:
    """Yield one round. Everything that begins in it ends in it. Pure but for the dice."""
    failing: dict[str, Fault] = {}
    for _ in range(dice.randint(*_STEPS)):
        pause_s = dice.uniform(*_PAUSE_S)
        possible = [
            fault for fault in faults if fault.place not in failing and fault.without not in failing
        ]
        if failing and (not possible or dice.random() < _ENDS):
            fault = dice.choice([one for one in failing.values() if one.without not in failing])
            del failing[fault.place]
            yield Step(pause_s, fault, begins=False)
        else:
            fault = dice.choice(possible)
            failing[fault.place] = fault
            yield Step(pause_s, fault, begins=True)
    for fault in sorted(failing.values(), key=lambda one: bool(one.without)):
        yield Step(0.0, fault, begins=False)


# ---- what can fail ----


def faults_of(network: Twins) -> list[Fault]:
    """Return everything that can fail in a network."""
    found = [fault for number in (1, 2) for fault in _of_path(network, f"wan{number}")]
    for end, machine in ((network.a, network.pair.a.gateway), (network.b, network.pair.b.gateway)):
        found += [*_of_processes(end, machine.name), *_of_document(end, machine.name)]
    return found


def _of_path(network: Twins, device: str) -> Iterator[Fault]:
    for site in (network.pair.a, network.pair.b):
        machine = site.gateway
        for name, begin, end in (
            ("cut", partial(impair.cut, machine, device), partial(impair.mend, machine, device)),
            (
                "loses a fifth",
                partial(impair.lose, machine, device, 20),
                partial(impair.lose_none, machine, device),
            ),
            (
                "down",
                partial(machine.ip, "link", "set", device, "down"),
                partial(machine.ip, "link", "set", device, "up"),
            ),
        ):
            yield Fault(f"{machine.name} {device} {name}", device, begin, end)


def _of_processes(end: Twinspan, name: str) -> Iterator[Fault]:
    process = f"{name} gateway"
    yield Fault(f"{process} killed", process, end.kill, end.start)
    yield Fault(f"{process} stopped", process, end.stop, end.start)
    frozen, thawed = (partial(_signal, end, number) for number in (signal.SIGSTOP, signal.SIGCONT))
    yield Fault(f"{process} frozen", process, frozen, thawed)
    # These two heal themselves, once there is a gateway process.
    yield Fault(f"{name} BIRD killed", f"{name} bird", partial(_kill_bird, end), _nothing)
    yield Fault(f"{name} data plane killed", f"{name} plane", partial(_kill_plane, end), _nothing)


def _of_document(end: Twinspan, name: str) -> Iterator[Fault]:
    process = f"{name} gateway"
    for number in (1, 2):
        tunnel = sites.tunnel_name(number)
        up = partial(_cli, end, "up", tunnel)
        for options in ((), ("--now",)):
            down = partial(_cli, end, "down", tunnel, *options)
            words = " ".join([name, "down", tunnel, *options])
            yield Fault(words, f"{name} {tunnel}", down, up, process)
    back = partial(_edit, end, {})
    for settings in _EDITS:
        words = f"{name} edit {next(iter(settings))}"
        yield Fault(words, f"{name} document", partial(_edit, end, settings), back, process)


def _nothing() -> None:
    """Heal nothing: it heals itself."""


def _signal(end: Twinspan, number: signal.Signals) -> None:
    os.kill(end.pid, number)


def _kill_bird(end: Twinspan) -> None:
    pid = twins.bird_pid(end)
    if pid is not None:
        _kill(pid)


def _kill_plane(end: Twinspan) -> None:
    for pid in set(end.pids()) - {end.pid}:
        _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has just ended by itself, or is being restarted


def _cli(end: Twinspan, *words: str) -> None:
    """Give a command, as soon as the gateway answers: it may be starting on a new data plane."""

    def done() -> bool:
        try:
            end.cli(*words)
        except LabError as error:
            if ": exit 3:" in str(error):  # the gateway process does not answer
                return False
            raise
        return True

    wait_for(f"twinspan {' '.join(words)}", done, 20.0, every_s=0.2)


def _edit(end: Twinspan, settings: Mapping[str, Value]) -> None:
    """Make these the further settings of the connection at one end, and no others."""
    (connection,) = end.document.connections
    kept = {key: value for key, value in connection.settings.items() if key not in _EDITED}
    kept |= _BASE
    edited = replace(connection, settings={**kept, **settings})
    end.write(replace(end.document, connections=[edited]))
    _cli(end, "reload")


_EDITED = {key for settings in _EDITS for key in settings}
_BASE: Mapping[str, Value] = {"bfd": "300x3"}


# ---- whether all is right ----


@dataclass(frozen=True, slots=True)
class World:
    """The network with what it was like at the start."""

    network: Twins
    before: Inventory

    def check_alive(self, failing: set[str]) -> None:
        """Raise LabError if a gateway process has ended that nobody has ended."""
        for end in (self.network.a, self.network.b):
            name = end.machine.name
            if f"{name} gateway" not in failing and not end.is_alive:
                raise LabError(f"the gateway of {name} has ended:\n{end.log_text()[-3000:]}")

    def wait_right(self) -> float:
        """
        Return after how many seconds all was right again.

        Raises LabError with what is not, after the bound.
        """
        began = time.monotonic()
        self.network.wait_settled(_HEALED_S)
        left_s = max(5.0, began + _HEALED_S - time.monotonic())
        wait_for_none(lambda: leaks(self.before, take(self._ends())), left_s)
        took_s = time.monotonic() - began
        self._check_traffic()
        return took_s

    def _ends(self) -> tuple[Twinspan, Twinspan]:
        return self.network.a, self.network.b

    def _check_traffic(self) -> None:
        a, b = self.network.pair.a, self.network.pair.b
        flows = stream.both_ways((a.host, a.host4), (b.host, b.host4))
        time.sleep(_TRAFFIC_S)
        for way, seen in zip(("a to b", "b to a"), flows.stop(), strict=True):
            if seen.lost or not seen.goes_on:
                raise LabError(f"from {way} {seen.lost} of {seen.sent} datagrams are lost")


def wait_for_none(question: Callable[[], Sequence[str]], timeout_s: float) -> None:
    """Wait until nothing is wrong. Raises LabError with what still is."""
    end = time.monotonic() + timeout_s
    while wrong := question():
        if time.monotonic() > end:
            raise LabError("not as at the start:\n" + "\n".join(wrong))
        time.sleep(0.5)


def play(world: World, dice: random.Random, faults: Sequence[Fault]) -> None:
    """Play one round. Raises LabError if something is not right after it."""
    failing: set[str] = set()
    for step in steps(dice, faults):
        time.sleep(step.pause_s)
        print(f"  {time.strftime('%H:%M:%S')} {step}", file=sys.stderr)
        if step.begins:
            failing.add(step.fault.place)
            step.fault.begin()
        else:
            step.fault.end()
            failing.remove(step.fault.place)
        world.check_alive(failing)
    print(f"  all right after {world.wait_right():.1f} s", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Played:
    """What was done, and resident memory by process, of the first round and of the last."""

    rounds: int
    first_mib: Mapping[str, float]
    last_mib: Mapping[str, float]

    def page(self, minutes: float, seed: int) -> list[str]:
        """Return what docs/reliability.md says of it."""
        memory = ", ".join(
            f"{name} {size:.1f} to {self.last_mib[name]:.1f} MiB"
            for name, size in self.first_mib.items()
            if name in self.last_mib
        )
        rows = [
            ("rounds, all right after each, nothing leaked", str(self.rounds)),
            ("memory before the first round and after the last", memory),
        ]
        return [lasting.heading(minutes, seed), "", *lasting.table(("", ""), rows)]


def run(minutes: float, seed: int) -> Played:
    """Play rounds for so long. Raises LabError with the round's number."""
    dice = random.Random(seed)  # noqa: S311  # not for secrets
    end = time.monotonic() + 60.0 * minutes
    count = 0
    with Lab(f"ch{os.getpid()}") as lab:
        # What fails again and again is to be used again at once, unlike in real life.
        network = twins.build(lab, "300x3", {"flap_damping": False})
        for site in (network.pair.a, network.pair.b):
            # A link that is set down would lose its IPv6 addresses, which nobody gives it again.
            site.gateway.sysctl("net.ipv6.conf.all.keep_addr_on_down=1")
        world = World(network, take((network.a, network.b)))
        while time.monotonic() < end or not count:
            count += 1
            print(f"round {count}", file=sys.stderr)
            try:
                play(world, dice, faults_of(network))
            except LabError as error:
                raise LabError(f"seed {seed}, round {count}: {error}") from error
        after = take((network.a, network.b)).resident_mib
    return Played(count, world.before.resident_mib, after)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it from the command line."""
    chosen = lasting.parse(lasting.parser("chaos", __doc__, "what fails when"), arguments)
    seed = chosen.seed
    end_cleanly()
    print(f"chaos: seed {seed}")
    try:
        played = run(chosen.minutes, seed)
    except LabError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    print(f"chaos: {played.rounds} rounds, all was right after each, nothing leaked")
    if chosen.write is not None:
        lasting.put(chosen.write, "./run chaos", played.page(chosen.minutes, seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
