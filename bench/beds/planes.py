"""Control processes with a store in SQLite: what resources, a real node and many nodes cost."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable, Sequence

from bench.beds import loop, resources
from gateway.control.mirror import Mirror
from gateway.control.nodes.documents import Documents
from gateway.control.secrets import load_key_ring
from gateway.control.store.place import open_store
from gateway.secret import Secret
from lab import cpu
from lab.commands import LabError, Process, wait_for
from lab.control import Api, Control, Table
from lab.fleet import PORT, Fleet, Member
from lab.netns import Lab
from lab.twinspan import ROOT

Say = Callable[[str], None]
Found = dict[str, float]
PUBLIC = ("198.51.100.11", "198.51.100.12")  # of the two nodes
LOOK_S = 0.01  # between two questions whether a change is applied
PAUSE_S = 0.2  # between two changes
JOIN_S = 120.0


def tree(lab: Lab, connections: int, changes: int, say: Say) -> Found:
    """
    Return the figures of many connections on two nodes, each of which has one tunnel of each.

    The first node is a real gateway; the second one only gets its document.
    """
    fleet, worst_ms = Fleet.build(lab, *loop.OPTIONS), list[float]()
    control = fleet.control
    node = _real_node(fleet)
    other = new_node(control.api(), "gw-b", PUBLIC[1])
    resources.plant(control)
    say(f"creating {connections} connections")
    with loop.watched(control, worst_ms):
        created = resources.grow(control, connections, say)
        say(f"lists by {resources.CLIENTS} clients")
        listed = resources.lists_s(control)
    memory = [_resident_mib(control)]
    control.stop()
    start_s = resources.timed(control.start)
    joined = _first_document(control, other)
    build_s = asyncio.run(_build_s(control, str(other["id"])))
    say(f"a gateway with {joined['tunnels']} tunnels")
    with loop.watched(control, worst_ms):
        node.start(timeout_s=JOIN_S)
        applied = _applied_s(fleet, node, changes)
        say(f"lists by {resources.CLIENTS} clients, of tunnels that a node reports")
        reported = resources.lists_s(control)
        whole_s = _whole_s(control)
    memory.append(_resident_mib(control))
    return {
        "connections": connections,
        "list.p95_ms": max(resources.p95_ms(each) for each in (listed, reported)),
        "create.p95_ms": resources.p95_ms(created),
        "create.last_p95_ms": resources.p95_ms(created[-100:]),
        "applied.tunnels": len(node.tunnels()),
        "applied.p95_ms": resources.p95_ms(applied),
        "whole.change_s": round(whole_s, 3),
        "loop.worst_ms": max(worst_ms),
        "document.tunnels": joined["tunnels"],
        "document.build_s": round(build_s, 3),
        "document.answer_s": joined["document_s"],
        "document.mib": round(joined["document_bytes"] / 2**20, 3),
        "control.start_s": round(start_s, 2),
        "control.rss_mib": max(memory),
    }


def _real_node(fleet: Fleet) -> Member:
    """Return a gateway that is not started yet."""
    machine = fleet.control.machine.lab.namespace("gw-a")
    for device, address in (("lan", "192.168.0.1/16"), ("wan", f"{PUBLIC[0]}/24")):
        machine.ip("link", "add", device, "type", "bridge")
        machine.address(device, address)
    return fleet.join(machine, PUBLIC[0], start=False)


def new_node(api: Api, name: str, *addresses: str) -> Table:
    """Return a new node as the API answers it, with its registration token."""
    node = api.create("nodes", name=name, public_addresses=addresses)
    return {**node, **api.do(f"nodes/{node['id']}/token")}


async def _build_s(control: Control, node: str) -> float:
    """Return in how many seconds a node's document is made by one who has made none yet."""
    ring, store = load_key_ring(control.key_file), await open_store(control.store)
    mirror = Mirror(store)
    reading = asyncio.create_task(mirror.run())
    await mirror.ready.wait()
    documents = Documents(store, mirror, ring, Secret(secrets.token_bytes(32)))
    took = resources.timed(lambda: documents.current(node))
    reading.cancel()
    await asyncio.wait([reading])
    await store.close()
    return took


def _first_document(control: Control, node: Table) -> Table:
    """Return what its first document costs a node that joins."""
    process = simulate(control, [("127.0.0.1", node["registration_token"])], 0.0)
    process.wait(JOIN_S)
    return _line(process, 0)


def _applied_s(fleet: Fleet, node: Member, changes: int) -> list[float]:
    """
    Return how many seconds pass from each change of a connection to the node's word that it holds.

    The word goes by the node's report and the API. Raises LabError if the gateway has it not.
    """
    api, taken = fleet.control.api(), []
    _wait_generation(api, node.node, 1)
    connections = api.all("vpn-connections")
    for number in range(changes):
        id = connections[number * 7 % len(connections)]["id"]
        began = time.perf_counter()
        cidrs = [resources.network(11, number)]
        changed = api.change(f"vpn-connections/{id}", remote_cidrs=cidrs)
        _wait_generation(api, node.node, int(changed["revision"]))
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    _judge_applied(node, changes)
    return taken


def _whole_s(control: Control) -> float:
    """Return how long a change takes that all connections are judged for: of the Border Gateway."""
    api = control.api()
    (gateway,) = api.all("border-gateways")
    return resources.timed(lambda: api.change(f"border-gateways/{gateway['id']}", asn=65_100))


def _wait_generation(api: Api, node: str, least: int) -> None:
    """Wait until a node has applied a generation, or a later one. Raises LabError."""

    def applied() -> bool:
        return int(api.get(f"nodes/{node}")["status"]["generation_applied"] or 0) >= least

    wait_for(f"generation {least} of {node}", applied, JOIN_S, LOOK_S)


def _judge_applied(node: Member, changes: int) -> None:
    """Raise LabError unless the gateway itself shows the networks of all changes."""
    routes = node.routes()
    shown = {route["prefix"] for route in routes}
    missing = [at for at in range(changes) if resources.network(11, at) not in shown]
    if missing:
        raise LabError(f"applied by the API's word, but not in the gateway: changes {missing}")


def fleet(lab: Lab, nodes: int, connections: int, seconds: float, say: Say) -> Found:
    """Return the figures of many simulated nodes that share the tunnels and report."""
    machine = lab.namespace("many")
    control = Control(machine, "--listen-nodes", f"0.0.0.0:{PORT}").start()
    # A source for each node: registrations are limited by address, and the API exempts nobody.
    sources = [f"10.255.0.{number + 1}" for number in range(nodes)]
    machine.addresses("lo", [f"{source}/32" for source in sources])
    api = control.api()
    made = [new_node(api, f"node-{number}", f"198.51.100.{number + 1}") for number in range(nodes)]
    resources.plant(control)
    say(f"creating {connections} connections on {nodes} nodes")
    resources.grow(control, connections, say)
    tokens = [str(node["registration_token"]) for node in made]
    process = simulate(control, list(zip(sources, tokens, strict=True)), seconds)
    wait_for("the nodes to join", lambda: has_line(process, 0), JOIN_S)
    say(f"{nodes} nodes report for {seconds:g} s")
    began, used = time.monotonic(), cpu.cpu_s([control.pid])
    process.wait(seconds + JOIN_S)
    cores = (cpu.cpu_s([control.pid]) - used) / (time.monotonic() - began)
    talked = _line(process, 1)
    return {
        "fleet.nodes": nodes,
        "fleet.tunnels": _line(process, 0)["tunnels"],
        "fleet.reports": talked["reports"],
        "fleet.report_p95_ms": talked["report_p95_ms"],
        "fleet.cores": round(cores, 3),
        "fleet.rss_mib": _resident_mib(control),
    }


def simulate(control: Control, nodes: Sequence[tuple[str, str]], seconds: float) -> Process:
    """Start `bench.beds.nodes` beside a control process."""
    file = control.directory / "nodes.json"
    file.write_text(json.dumps({"seconds": seconds, "port": PORT, "nodes": nodes}))
    words = (sys.executable, "-m", "bench.beds.nodes", str(file))
    return control.machine.start("nodes", *words, env={"PYTHONPATH": str(ROOT)})


def has_line(process: Process, number: int) -> bool:
    """Say whether a program has written that many lines and one. Raises LabError if it failed."""
    lines = process.log.read_text().splitlines()
    if not process.is_alive and process.child.returncode != 0:
        raise LabError(f"the simulated nodes failed:\n{process.tail()}")
    return len(lines) > number


def _line(process: Process, number: int) -> Table:
    """Return a line of a program's output as the JSON object it is."""
    if not has_line(process, number):
        raise LabError(f"the simulated nodes said too little:\n{process.tail()}")
    found: Table = json.loads(process.log.read_text().splitlines()[number])
    return found


def _resident_mib(control: Control) -> float:
    return round(cpu.resident_mib([control.pid]), 1)
