"""
Juniper SRX, Junos 21.4 and later, as `set` commands.

An st0 unit for each tunnel, in a zone "vpn"; with policy routing traffic selectors beside it, which
make the routes. IKE goes without AES-GCM: which PRF Junos takes with it differs among releases.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import Words
from gateway.ike.config import Identity, IdType

QUOTED = r"[!#-\[\]-~]+"  # what a text in double quotes may have
KILOBYTES = (64, 4294967294)
CBC = {"aes256": "aes-256-cbc", "aes192": "aes-192-cbc", "aes128": "aes-128-cbc"}
GROUPS = {
    "ecp256": "group19",
    "ecp384": "group20",
    "ecp521": "group21",
    "modp2048": "group14",
    "modp3072": "group15",
    "modp4096": "group16",
}
HASHES = {"sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"}
IKE = Words(CBC, HASHES, GROUPS, has_prf=False)
ESP = Words(
    encr={
        "aes256gcm16": "aes-256-gcm",
        "aes192gcm16": "aes-192-gcm",
        "aes128gcm16": "aes-128-gcm",
        **CBC,
    },
    integ={"sha256": "hmac-sha-256-128", "sha384": "hmac-sha-384", "sha512": "hmac-sha-512"},
    group=GROUPS,
)
_IDENTITIES = {IdType.IPV4: "inet", IdType.FQDN: "hostname", IdType.EMAIL: "user-at-hostname"}


def _render(job: Job) -> list[File]:
    text = job.text(
        "juniper-srx",
        head=linux.head(job, "Paste it in configuration mode; then: commit."),
        identity=_identity,
        psk=partial(_psk, job),
    )
    if job.sheet.mode == "static":
        job.note(
            "while no tunnel is up, packets to the VPC follow the default route: let no policy"
            " from trust to untrust permit them"
        )
    if job.sheet.mode == "policy" and len(job.sheet.tunnels) > 1:
        job.note("traffic selectors make equal routes for all tunnels: the first up is used")
    return [File("juniper-srx.txt", text, is_secret=job.options.secrets)]


def _identity(text: str) -> str:
    kind = Identity.parse(text).type
    quoted = f'"{text}"' if kind is IdType.EMAIL else text
    return f"{_IDENTITIES[kind]} {quoted}"


def _psk(job: Job, tunnel: SheetTunnel) -> str:
    text, is_hex = job.psk_or_hex(tunnel, QUOTED)
    return f"hexadecimal {text}" if is_hex else f'ascii-text "{text}"'


JUNIPER = Device(
    name="juniper-srx",
    title="Juniper SRX",
    version="Junos 21.4 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=("per_resource_sas", "copy_dscp", "child_lifetime_packets"),
    kilobytes=KILOBYTES,
    bgp_key=QUOTED,
    key_ids=False,
    wan="ge-0/0/0.0",
    notes=(
        'the zones are taken for "trust" and "untrust"; a zone "vpn" is made',
        "BGP's keepalive is a third of the hold time",
    ),
)
