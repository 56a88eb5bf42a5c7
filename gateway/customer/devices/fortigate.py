"""
FortiGate, FortiOS 7.2 and later, as CLI commands.

A tunnel interface for each tunnel (`phase1-interface`), in every way of routing; with policy
routing each pair of prefixes is a phase 2 of its own.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import GROUP_NUMBERS, Suite, Words
from gateway.ike.config import Identity, IdType

KILOBYTES = (5120, 4294967295)
LONGEST_S = 172800
BARE = r"[A-Za-z0-9!%&()*+,./:;<=>@^_~-]+"  # in quotes: no quotes, backslash, "#", "$", "?"
CIPHERS = {
    "aes256gcm16": "aes256gcm",
    "aes128gcm16": "aes128gcm",
    "chacha20poly1305": "chacha20poly1305",
    "aes256": "aes256",
    "aes192": "aes192",
    "aes128": "aes128",
}
HASHES = {name: name for name in ("sha256", "sha384", "sha512")}
IKE = Words(
    CIPHERS, HASHES, GROUP_NUMBERS, {f"prf{name}": f"prf{name}" for name in HASHES}, has_prf=False
)
ESP = Words(CIPHERS, HASHES, GROUP_NUMBERS)
_ID_TYPES = {
    IdType.IPV4: "address",
    IdType.FQDN: "fqdn",
    IdType.EMAIL: "user-fqdn",
    IdType.KEY_ID: "keyid",
}


def _render(job: Job) -> list[File]:
    text = job.text(
        "fortigate",
        head=linux.head(job, "Paste it into the CLI."),
        psk=partial(_psk, job),
        id_type=lambda identity: _ID_TYPES[Identity.parse(identity).type],
        key_text=partial(_key_text, job),
        phase1=lambda suite: f"{CIPHERS[suite.encr]}-{suite.integ or suite.prf}",
        phase2=_phase2,
    )
    return [File("fortigate.txt", text, is_secret=job.options.secrets)]


def _phase2(suite: Suite) -> str:
    return CIPHERS[suite.encr] + (f"-{suite.integ}" if suite.integ else "")


def _key_text(job: Job, identity: str) -> str:
    """Return an identity as FortiOS has it, which writes a key ID as text."""
    if not identity.startswith("keyid:"):
        return identity
    text = bytes.fromhex(identity[6:]).decode("ascii", "replace")
    if not text.isprintable() or set(text) & set('"\\\ufffd'):
        job.refuse("tunnel", f"has key IDs of printable characters only ({identity})")
    return text


def _psk(job: Job, tunnel: SheetTunnel) -> str:
    text, is_hex = job.psk_or_hex(tunnel, BARE)
    return f"0x{text}" if is_hex else f'"{text}"'


FORTIGATE = Device(
    name="fortigate",
    title="FortiGate",
    version="FortiOS 7.2 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=("per_resource_sas", "copy_dscp", "child_lifetime_packets", "replay_window"),
    kilobytes=KILOBYTES,
    bgp_key=r"[^\"\\?]+",
    wan="wan1",
    lan="internal",
    longest_ike_s=LONGEST_S,
    longest_child_s=LONGEST_S,
)
