"""What gateways have: devices, routes, processes, descriptors, memory; and what is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import cpu
from lab.commands import LabError, run
from lab.twinspan import Twinspan

_KINDS = {"gateway.dataplane.process": "data plane", "gateway": "gateway"}
# What a process may have more than at the start: connections of the moment, a rekey under way, and
# a timer for each queue of a tunnel that has had a cap (five queues, two tunnels).
_DESCRIPTORS, _MIB = 8 + 10, 40.0


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything by "machine kind"; lists are sorted."""

    namespaces: tuple[str, ...]
    devices: Mapping[str, tuple[str, ...]]
    routes: Mapping[str, tuple[str, ...]]
    processes: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]  # the Child SAs of each tunnel, counted
    descriptors: Mapping[str, int]
    resident_mib: Mapping[str, float]


def take(ends: Iterable[Twinspan]) -> Inventory:
    """Return what the machines of these gateways have now."""
    ends = tuple(ends)
    machines = [end.machine for end in ends]
    pids = {
        f"{machine.name} {kind}": pid
        for machine in machines
        for kind, pid in _kinds(machine.pids())
    }
    prefix = machines[0].lab.prefix
    names = (line.split()[0] for line in run("ip", "netns").splitlines() if line)
    return Inventory(
        namespaces=tuple(sorted(name for name in names if name.startswith(f"{prefix}-"))),
        devices={one.name: _words(one.ip("-br", "link"), 1) for one in machines},
        routes={one.name: _lines(one.ip("route") + one.ip("-6", "route")) for one in machines},
        processes={
            one.name: tuple(sorted(kind for kind, _ in _kinds(one.pids()))) for one in machines
        },
        children={end.machine.name: tuple(sorted(_children(end))) for end in ends},
        descriptors={name: _descriptors(pid) for name, pid in pids.items()},
        resident_mib={name: cpu.resident_mib([pid]) for name, pid in pids.items()},
    )


def _children(end: Twinspan) -> Iterator[str]:
    try:
        tunnels = end.tunnels()
    except LabError as error:
        yield str(error)
        return
    for tunnel in tunnels.values():
        yield f"{tunnel.name}: {len(tunnel.all_spis)}"


def _kinds(pids: Iterable[int]) -> Iterator[tuple[str, int]]:
    """Yield what each process is, with its pid; one that has just ended is none."""
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        known = (kind for word, kind in _KINDS.items() if word in words)
        yield next(known, Path(words[0]).name), pid


def _descriptors(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _lines(text: str) -> tuple[str, ...]:
    return tuple(sorted(line.strip() for line in text.splitlines() if line.strip()))


def _words(text: str, count: int) -> tuple[str, ...]:
    return tuple(sorted(" ".join(line.split()[:count]) for line in text.splitlines()))


def leaks(before: Inventory, now: Inventory) -> list[str]:
    """Return what is not as before, and what has become too much, one a line. Pure."""
    found = list(_differences("namespaces", before.namespaces, now.namespaces))
    for what in ("devices", "routes", "processes", "children"):
        then, here = getattr(before, what), getattr(now, what)
        for machine in then:
            found += _differences(f"{machine}: {what}", then[machine], here.get(machine, ()))
    for name, count in now.descriptors.items():
        if count > before.descriptors.get(name, 0) + _DESCRIPTORS:
            found.append(f"{name}: {count} descriptors, {before.descriptors.get(name, 0)} before")
    for name, mib in now.resident_mib.items():
        if mib > before.resident_mib.get(name, 0.0) + _MIB:
            found.append(f"{name}: {mib:.0f} MiB, {before.resident_mib.get(name, 0.0):.0f} before")
    return found


def _differences(what: str, before: tuple[str, ...], now: tuple[str, ...]) -> Iterator[str]:
    then, here = Counter(before), Counter(now)
    yield from (f"{what}: lacks {each}" for each in (then - here).elements())
    yield from (f"{what}: {each} is new" for each in (here - then).elements())
