"""
Cisco IOS XE 17.3 and later, as on the ISR, ASR 1000, Catalyst 8000 and CSR 1000V.

A static VTI for each tunnel; with policy routing it has several SAs (`tunnel protection ipsec
policy`, from 16.12 on). BGP's routes go before the static ones to Null0.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import GROUP_NUMBERS, Words
from gateway.ike.config import Identity, IdType

KILOBYTES = (2560, 4294967295)
WINDOWS = (64, 128, 256, 512, 1024)
GROUPS = {
    name: GROUP_NUMBERS[name]
    for name in ("ecp256", "ecp384", "ecp521", "modp2048", "modp3072", "modp4096")
}
HASHES = {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
IKE = Words(
    encr={
        "aes256gcm16": "aes-gcm-256",
        "aes128gcm16": "aes-gcm-128",
        "aes256": "aes-cbc-256",
        "aes192": "aes-cbc-192",
        "aes128": "aes-cbc-128",
    },
    integ=HASHES,
    group=GROUPS,
    prf={f"prf{name}": word for name, word in HASHES.items()},
    has_prf=False,
)
ESP = Words(
    encr={
        "aes256gcm16": "esp-gcm 256",
        "aes192gcm16": "esp-gcm 192",
        "aes128gcm16": "esp-gcm 128",
        "aes256": "esp-aes 256",
        "aes192": "esp-aes 192",
        "aes128": "esp-aes",
    },
    integ={name: f"esp-{name}-hmac" for name in HASHES},
    group=GROUPS,
)


def _render(job: Job) -> list[File]:
    text = job.text(
        "cisco-ios-xe",
        head=linux.head(job, "Paste it in configuration mode.", mark="!"),
        identity=_identity,
        psk=partial(_psk, job),
        replay=_replay,
    )
    return [File("cisco-ios-xe.txt", text, is_secret=job.options.secrets)]


def _identity(text: str, is_remote: bool) -> str:
    """Return an identity as `match identity remote` or `identity local` has it."""
    kind = Identity.parse(text).type
    if kind is IdType.IPV4:
        return f"address {text} 255.255.255.255" if is_remote else f"address {text}"
    return f"{'email' if kind is IdType.EMAIL else 'fqdn'} {text}"


def _psk(job: Job, tunnel: SheetTunnel) -> str:
    """Return the key; "?" would ask the command line for help, a digit in front names a type."""
    text, is_hex = job.psk_or_hex(tunnel, r"[A-Za-z][!#->@-~]*")
    return f"hex {text}" if is_hex else text


def _replay(tunnel: SheetTunnel) -> int:
    return max(size for size in WINDOWS if size <= tunnel.replay_window)


CISCO = Device(
    name="cisco-ios-xe",
    title="Cisco IOS XE",
    version="17.3 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=("per_resource_sas", "fragment_size", "copy_dscp", "child_lifetime_packets"),
    kilobytes=KILOBYTES,
    bgp_key=r"[!->@-~]{1,25}",
    key_ids=False,
    wan="GigabitEthernet1",
    longest_child_s=2592000,
    notes=(
        "ESP goes in UDP only where IOS XE sees a NAT, which the gateway's encap = prefer shows it",
    ),
)
