"""The generic sheet: a table of every value for a person, and the same for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import Bgp, SheetTunnel
from gateway.model.types import key_of

Rows = list[tuple[str, object]]


def _render(job: Job) -> list[File]:
    values = [(tunnel, list(_rows(job, tunnel))) for tunnel in job.sheet.tunnels]
    shown = [(tunnel, [(name, _shown(value)) for name, value in rows]) for tunnel, rows in values]
    return [
        File("sheet.md", job.text("generic.md", values=shown), is_secret=job.options.secrets),
        File("sheet.json", _json(job, values), is_secret=job.options.secrets),
    ]


def _json(job: Job, values: list[tuple[SheetTunnel, Rows]]) -> str:
    sheet = job.sheet
    whole_sheet = {
        "gateway": sheet.gateway,
        "connection": sheet.connection,
        "customer": sheet.customer,
        "routing": sheet.mode,
        "shares_load": sheet.shares_load,
        "cloud_prefixes": [str(prefix) for prefix in sheet.cloud_prefixes],
        "device_prefixes": [str(prefix) for prefix in sheet.device_prefixes],
        "tunnels": [
            {"name": tunnel.name, **{name.replace(" ", "_"): value for name, value in rows}}
            for tunnel, rows in values
        ],
    }
    return json.dumps(whole_sheet, indent=2) + "\n"


def _shown(value: object) -> str:
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return "<br>".join(_shown(one) for one in value)
        case dict():
            return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return str(value).replace("|", r"\|")


_AUTH = {
    "certificate": "X.509 certificates at both ends, the device's of a CA that the gateway trusts",
    "raw-key": "public keys that each end knows of the other",
}


def _rows(job: Job, tunnel: SheetTunnel) -> Iterator[tuple[str, object]]:
    yield "device outer address", str(tunnel.device_address or "any")
    yield "cloud outer address", str(tunnel.cloud_address)
    yield "device identity", tunnel.device_id or "any"
    yield "cloud identity", tunnel.cloud_id
    if tunnel.auth == "psk":
        yield "pre-shared key", _key(job.psk(tunnel))
    else:
        yield "authentication", _AUTH[tunnel.auth]
    if tunnel.ppk is not None:
        yield "post-quantum key (RFC 8784)", _key(job.ppk(tunnel) or "")
        yield "its identity", tunnel.ppk_id
        yield "without it", "nothing" if tunnel.ppk_required else "the pre-shared key alone"
    yield "IKE version", 2
    yield "who begins", "the gateway" if tunnel.cloud_begins else "the device"
    yield "IKE proposals", [str(proposal) for proposal in tunnel.ike_proposals]
    yield "ESP proposals", [str(proposal) for proposal in tunnel.esp_proposals]
    yield "IKE lifetime of the gateway in s", tunnel.cloud_ike_lifetime_s
    yield "IKE lifetime for the device in s", job.ike_lifetime(tunnel)
    yield "ESP lifetime of the gateway in s", tunnel.cloud_child_lifetime_s
    yield "ESP lifetime for the device in s", job.child_lifetime(tunnel)
    yield "ESP lifetime of the gateway in bytes", tunnel.child_lifetime_bytes or None
    yield "ESP lifetime of the gateway in packets", tunnel.child_lifetime_packets or None
    yield "DPD after silence of s", tunnel.liveness_s or None
    yield "DPD gives up after s", tunnel.liveness_timeout_s
    yield "ESP in UDP", tunnel.encap.value
    yield "largest IKE datagram in bytes", tunnel.fragment_size
    yield "device inner address", str(tunnel.device_inner) if tunnel.device_inner else None
    yield "cloud inner address", str(tunnel.cloud_inner) if tunnel.cloud_inner else None
    yield "MTU inside in bytes", tunnel.mtu
    yield "TCP MSS in bytes", tunnel.mss
    yield "anti-replay window in packets", tunnel.replay_window
    yield "DSCP is copied", tunnel.copy_dscp
    yield "a Child SA for each CPU of the gateway (RFC 9611)", tunnel.per_resource_sas or None
    yield "preference among the tunnels", tunnel.rank
    yield "switched on", tunnel.is_up
    yield "pinged by the gateway", tunnel.is_probed
    yield "pinged by it to measure, every s", tunnel.measure_s or None
    yield (
        "traffic selectors",
        [
            {"device": ", ".join(device), "cloud": ", ".join(cloud)}
            for device, cloud in tunnel.selectors
        ],
    )
    if tunnel.bgp is not None:
        yield from _bgp_rows(job, tunnel, tunnel.bgp)


def _key(text: str) -> str:
    """Return a key as it is, or in hexadecimal where it does not print."""
    return text if text.isprintable() else f"0x{key_of(text).hex()}"


def _bgp_rows(job: Job, tunnel: SheetTunnel, bgp: Bgp) -> Iterator[tuple[str, object]]:
    yield "device AS number", bgp.device_asn
    yield "cloud AS number", bgp.cloud_asn
    yield "BGP hold time in s", bgp.hold_s
    yield "BGP keepalive in s", bgp.keepalive_s
    yield "BFD", f"{bgp.bfd[0]} ms, {bgp.bfd[1]} times" if bgp.bfd else None
    yield "BGP password", job.password(tunnel)
    if bgp.password is not None:
        yield "BGP authentication", bgp.auth
        yield "TCP-AO key number", bgp.key_id if bgp.auth != "md5" else None


GENERIC = Device(
    name="generic",
    title="any device",
    version="the values alone",
    render=_render,
    ike_words=linux.ALL,
    esp_words=linux.ALL,
    auths=frozenset({"psk", "certificate", "raw-key"}),
    ipv6=True,
    selectors=True,
    tcp_ao=True,
    ppk=True,
    words=False,
    one_pair=False,
    longest_ike_s=linux.LONGEST_S,
    longest_child_s=linux.LONGEST_S,
)
