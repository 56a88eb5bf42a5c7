"""
MikroTik RouterOS 7, as commands.

RouterOS has no route-based IPsec: policies choose, one for each pair of prefixes, and a policy may
have two peers, of which the second takes over. So there is policy routing alone, and two tunnels.
"""

from __future__ import annotations

import re
from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import Words
from gateway.customer.text import label
from gateway.ike.config import Identity, IdType

PEERS_MOST = 2  # of one policy
GROUPS = {
    name: name
    for name in ("ecp256", "ecp384", "ecp521", "modp2048", "modp3072", "modp4096", "modp6144")
}
IKE = Words(
    encr={"aes256": "aes-256", "aes192": "aes-192", "aes128": "aes-128"},
    integ={name: name for name in ("sha256", "sha384", "sha512")},
    group=GROUPS,
    has_prf=False,
)
ESP = Words(
    encr={
        "aes256gcm16": "aes-256-gcm",
        "aes192gcm16": "aes-192-gcm",
        "aes128gcm16": "aes-128-gcm",
        "aes256": "aes-256-cbc",
        "aes192": "aes-192-cbc",
        "aes128": "aes-128-cbc",
    },
    integ={name: name for name in ("sha256", "sha512")},
    group=GROUPS,
)
_IDENTITIES = {
    IdType.IPV4: "address",
    IdType.FQDN: "fqdn",
    IdType.EMAIL: "user-fqdn",
    IdType.KEY_ID: "key-id",
}


def _render(job: Job) -> list[File]:
    tunnels = job.sheet.tunnels
    best = sorted(tunnels, key=lambda tunnel: (tunnel.rank, tunnel.number))[:PEERS_MOST]
    if len(tunnels) > PEERS_MOST:
        job.note("a policy of RouterOS has two peers: tunnels behind the first two carry nothing")
    text = job.text(
        "mikrotik",
        head=linux.head(job, "Paste it into a terminal, or: /import mikrotik.rsc"),
        pairs=job.pairs(tunnels[0]),
        peers=",".join(label(tunnel.name) for tunnel in best),
        mss=min(tunnel.mss for tunnel in tunnels),
        psk=partial(_psk, job),
        identity=partial(_identity, job),
    )
    return [File("mikrotik.rsc", text, is_secret=job.options.secrets)]


def _psk(job: Job, tunnel: SheetTunnel) -> str:
    """Return the key as a string of RouterOS, in which some characters need a backslash."""
    text = job.plain_psk(tunnel, r"[ -~]+")
    return '"' + re.sub(r'(["\\$?])', r"\\\1", text) + '"'


def _identity(job: Job, text: str) -> str:
    kind = Identity.parse(text).type
    value = text
    if kind is IdType.KEY_ID:
        value = bytes.fromhex(text[6:]).decode("ascii", "replace")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", value):
            job.refuse("tunnel", f"has key IDs of letters and digits only ({text})")
    return f"{_IDENTITIES[kind]}:{value}"


MIKROTIK = Device(
    name="mikrotik",
    title="MikroTik RouterOS",
    version="7.x",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
        "copy_dscp",
        "child_lifetime_bytes",
        "child_lifetime_packets",
        "replay_window",
    ),
    modes=frozenset({"policy"}),
    notes=(
        'RouterOS answers the gateway and begins only itself: let it begin (start = "respond" at'
        " the gateway) where the first packet shall bring the tunnel up",
        "ESP goes in UDP where RouterOS sees a NAT, which the gateway's encap = prefer shows it",
    ),
)
