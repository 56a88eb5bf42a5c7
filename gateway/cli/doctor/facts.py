"""What `twinspan doctor` knows of a machine before it judges; `Unseen` says why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.cli.doctor.verdict import Unseen
from gateway.fib import FibRoute, Network
from gateway.node.plan import NodePlan
from gateway.sa import Address

OWN = ""  # the name of the VM's own network namespace
Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a socket. `unit` is its systemd unit, "" without one."""

    pid: int
    program: str
    unit: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A UDP socket of the machine, or a raw one with its IP protocol for `port`."""

    address: Address
    port: int
    holder: Holder | Unseen


@dataclass(frozen=True, slots=True)
class DocumentSeen:
    """
    The document's file. `plan` is what it comes to, or what is wrong with it. `credential_until` is
    when the certificate ends by which the control plane knows this node, if it has one.
    """

    path: str
    plan: NodePlan | Unseen
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    changed_at: float | None = None  # seconds since 1970
    credential_until: float | None = None


@dataclass(frozen=True, slots=True)
class TunnelSeen:
    """A tunnel as the gateway process reports it."""

    name: str
    status: str
    nat_local: bool | None  # None: IKE has not spoken with the peer
    nat_remote: bool | None
    inner_mtu: int | None


@dataclass(frozen=True, slots=True)
class GatewaySeen:
    """The gateway process that runs. `limits` are of each of our processes: open, allowed."""

    pid: int
    source: str  # of its document: a file, or the control plane
    state_dir: str  # where it keeps what the control plane has given, "" with a file
    tunnels: tuple[TunnelSeen, ...]
    notes: tuple[str, ...]
    birds: tuple[tuple[str, str], ...]  # namespace, and what keeps its BIRD from answering
    counters: Mapping[str, int]  # of all workers together
    capabilities: frozenset[str] | Unseen
    limits: Mapping[str, tuple[int, int] | Unseen]
    read_at: float | None  # when it last took a document, seconds since 1970
    refused_at: float | None  # when it last refused one
    refused: str
    clock_jump_s: float  # how far the clock was set while it ran, 0.0 if not


@dataclass(frozen=True, slots=True)
class PathSeen:
    """The way to one peer. `takes` is the largest packet that was answered, bytes."""

    local: Address
    remote: Address
    device: str | None  # None: no route
    kernel_mtu: int | None  # what the kernel reckons with, bytes
    takes: int | Unseen


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """An outer device, or an inner one. Offloads are None where the driver does not say."""

    name: str
    mtu: int
    offloads: Mapping[str, bool | None]


@dataclass(frozen=True, slots=True)
class KernelSeen:
    """The running kernel: its release, and which of the features we use it has."""

    release: str
    udp_segment: bool
    udp_gro: bool
    tun: frozenset[str] | Unseen  # "multi_queue", "vnet_hdr"


@dataclass(frozen=True, slots=True)
class ClockSeen:
    """The kernel's word on its clock (adjtimex(2))."""

    is_synchronised: bool
    max_error_s: float


@dataclass(frozen=True, slots=True)
class CpuSeen:
    """The processors. `backends` names for each ESP suite the library that would do it."""

    count: int
    flags: frozenset[str]
    is_x86: bool
    backends: Mapping[str, str]
    governors: frozenset[str]
    steal: float  # the share of time that the hypervisor gave to others, 0.0 to 1.0


@dataclass(frozen=True, slots=True)
class NamespaceSeen:
    """One network namespace of the plan. `names` are those of its interfaces, by index."""

    name: str
    settings: Mapping[str, str]
    addresses: frozenset[Address]
    names: Mapping[int, str]
    routes: tuple[FibRoute, ...] | Unseen
    rules: int | Unseen  # routing rules beside the kernel's own three
    ruleset: tuple[Json, ...] | Unseen  # as `nft -j list ruleset` has it
    legacy_tables: tuple[str, ...]  # of the iptables that is not nf_tables
    xfrm: int | Unseen  # IPsec policies of the kernel


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was found out. `namespaces` are by name; where one can not be entered, why."""

    is_root: bool
    document: DocumentSeen
    gateway: GatewaySeen | Unseen
    sockets: tuple[OpenSocket, ...] | Unseen
    raw_sockets: tuple[OpenSocket, ...] | Unseen
    may_open_raw: bool
    namespaces: Mapping[str, NamespaceSeen | Unseen]
    paths: tuple[PathSeen, ...]
    devices: tuple[DeviceSeen, ...]
    inner_devices: tuple[DeviceSeen, ...]  # cards toward the VPCs, in the VM's own namespace
    kernel: KernelSeen
    clock: ClockSeen | Unseen
    cpu: CpuSeen
    bird: tuple[int, ...] | Unseen  # its version
    units: Mapping[str, str] | Unseen  # state by name, as systemctl has it

    @property
    def plan(self) -> NodePlan | None:
        """Return what the document comes to, if it has no mistake."""
        plan = self.document.plan
        return plan if isinstance(plan, NodePlan) else None

    @property
    def source(self) -> str:
        """Return where the gateway that runs has its document from, "" if none runs."""
        return self.gateway.source if isinstance(self.gateway, GatewaySeen) else ""

    @property
    def own(self) -> NamespaceSeen | Unseen:
        """Return the VM's own network namespace."""
        return self.namespaces[OWN]


def prefixes_of(plan: NodePlan, namespace: str) -> dict[Network, str]:
    """Return the customers' prefixes that the document routes in a namespace, with their tunnel."""
    found: dict[Network, str] = {}
    for tunnel in plan.tunnels:
        if tunnel.namespace == namespace:
            for prefix in (*(route.prefix for route in tunnel.routes), *tunnel.fail_closed):
                found.setdefault(prefix, tunnel.connection)
    return found
