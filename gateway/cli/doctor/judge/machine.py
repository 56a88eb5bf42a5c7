"""The kernel, the clock and the processors."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.doctor.facts import Facts, GatewaySeen
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown, warning
from gateway.dataplane.kernel import spoils_equal_segments, version_of

_OLDEST = (5, 0)  # UDP_GRO, TUNSETCARRIER
_USO = (6, 2)  # TUN_F_USO4
_STEAL_MAX = 0.05
_JUMP_S = 2.0
_CLOCK_ERROR_S = 1.0  # certificates and logs of both ends still agree


def kernel(facts: Facts) -> Iterator[Finding]:
    """The kernel is none of those known to spoil what we send, and not too old."""
    release = facts.kernel.release
    version = version_of(release)
    wanted = "5.0 or later, not 7.0 to 7.1.4"
    if version < _OLDEST:
        yield failure("kernel", "release", release, wanted, "install a newer kernel")
    elif spoils_equal_segments(release):
        remedy = (
            "install 7.1.5 or later; until then the data plane ends batches with a keepalive, or"
            " sends none with ExecStart=/usr/bin/twinspan dataplane --no-gso by systemctl edit"
            " twinspan-dataplane (a distribution's kernel may have the mend already: --no-gso-tail)"
        )
        found = f"{release}: spoils batches of equal UDP packets with some drivers"
        yield warning("kernel", "release", found, wanted, remedy)
    else:
        yield ok("kernel", "release", release, wanted)


def offloads(facts: Facts) -> Iterator[Finding]:
    """What the kernel offers the data plane, and what of it is in use."""
    for name, has, since in (
        ("UDP_SEGMENT", facts.kernel.udp_segment, "4.18"),
        ("UDP_GRO", facts.kernel.udp_gro, "5.0"),
    ):
        if has:
            yield ok("offloads", name, "offered" + _in_use(facts, name), "offered")
        else:
            remedy = f"Linux {since} or later; containers may hide it"
            yield warning("offloads", name, "not offered", "offered", remedy)
    if version_of(facts.kernel.release) >= _USO:
        yield ok("offloads", "UDP segments in TUN", "offered", "offered")
    else:
        remedy = "Linux 6.2 or later: QUIC in the tunnels gets several times faster"
        yield warning("offloads", "UDP segments in TUN", "not offered", "offered", remedy)


def _in_use(facts: Facts, name: str) -> str:
    if not isinstance(facts.gateway, GatewaySeen):
        return ""
    way = "out" if name == "UDP_SEGMENT" else "in"
    counts = facts.gateway.counters
    batches, packets = (counts.get(f"udp_{what}_{way}", 0) for what in ("batches", "segments"))
    if not batches:
        return ", no packet yet"
    return f", {packets / batches:.1f} packets in a batch so far"


def tun(facts: Facts) -> Iterator[Finding]:
    """TUN devices can be made, with a queue for each worker."""
    found, wanted = facts.kernel.tun, "several queues, large segments"
    if isinstance(found, Unseen) and not facts.is_root:
        yield unknown("tun", "/dev/net/tun", found, "run it as root")
    elif isinstance(found, Unseen):
        yield failure("tun", "/dev/net/tun", found.why, wanted, "modprobe tun")
    elif {"multi_queue", "vnet_hdr"} <= found:
        yield ok("tun", "/dev/net/tun", wanted, wanted)
    else:
        remedy = "install a kernel with CONFIG_TUN and IFF_MULTI_QUEUE"
        yield failure("tun", "/dev/net/tun", ", ".join(sorted(found)) or "none", wanted, remedy)


def clock(facts: Facts) -> Iterator[Finding]:
    """The clock is right, and was not set while the gateway ran."""
    seen, wanted = facts.clock, "synchronised"
    remedy = "timedatectl set-ntp true, or install chrony"
    if isinstance(seen, Unseen):
        yield unknown("clock", "NTP", seen, "timedatectl")
    elif not seen.is_synchronised:
        yield warning("clock", "NTP", "not synchronised", wanted, remedy)
    elif seen.max_error_s > _CLOCK_ERROR_S:
        found = f"synchronised, but may be wrong by {seen.max_error_s:.1f} s"
        yield warning("clock", "NTP", found, f"within {_CLOCK_ERROR_S:g} s", remedy)
    else:
        yield ok("clock", "NTP", f"synchronised within {seen.max_error_s:.3f} s", wanted)
    if isinstance(facts.gateway, GatewaySeen):
        yield _jump(facts.gateway.clock_jump_s)


def _jump(jump_s: float) -> Finding:
    wanted = "no jump since the gateway began"
    if abs(jump_s) < _JUMP_S:
        return ok("clock", "jump", "none", wanted)
    found = f"was set {'forward' if jump_s > 0 else 'back'} by {abs(jump_s):.0f} s"
    remedy = "let NTP step it before twinspan-gateway begins (chrony: makestep)"
    return warning("clock", "jump", found, wanted, remedy)


def crypto(facts: Facts) -> Iterator[Finding]:
    """ESP is done by the processor's own instructions and the quickest library."""
    cpu = facts.cpu
    has_aes = bool({"aes", "pmull"} & cpu.flags)
    vector = "with VAES" if "vaes" in cpu.flags else "without VAES"
    backends = set(cpu.backends.values())
    for suite, backend in cpu.backends.items():
        about, wanted = f"ESP {suite}", "ipsecmb" if cpu.is_x86 else "openssl"
        if backend == wanted or (cpu.is_x86 and "ipsecmb" in backends):
            yield ok("crypto", about, f"{backend}, {vector}" if cpu.is_x86 else backend, wanted)
        else:
            found = f"{backend or 'nothing'}: ipsec-mb is not here"
            yield warning("crypto", about, found, wanted, "apt-get install libipsec-mb1")
    if not has_aes:
        remedy = 'esp_proposals = ["chacha20poly1305"] is quicker here; or a VM type with AES-NI'
        yield warning("crypto", "AES in the processor", "none", "AES-NI", remedy)


def processors(facts: Facts) -> Iterator[Finding]:
    """The processors are at full speed, and ours."""
    cpu = facts.cpu
    slow = sorted(cpu.governors & {"powersave", "conservative", "ondemand"})
    wanted = "performance"
    if slow:
        remedy = "cpupower frequency-set -g performance"
        yield warning("cpu", "governor", ", ".join(slow), wanted, remedy)
    else:
        found = ", ".join(sorted(cpu.governors)) or "not this machine's to choose"
        yield ok("cpu", "governor", found, wanted)
    found, wanted = f"{cpu.steal:.1%} of the time", f"below {_STEAL_MAX:.0%}"
    if cpu.steal > _STEAL_MAX:
        remedy = "the hypervisor gives the cores to others: a VM type with cores of its own"
        yield warning("cpu", "steal", found, wanted, remedy)
    else:
        yield ok("cpu", "steal", found, wanted)
