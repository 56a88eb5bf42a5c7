"""
pfSense and OPNsense: guides for a person at the web interface, as Markdown.

pfSense CE 2.7 and Plus 23.09 and later; OPNsense 24.1 and later, by its Connections. Both run
strongSwan and, as a package, FRR.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.suites import GROUP_NUMBERS, Suite, Words
from gateway.ike.config import Identity, IdType

TYPED = r"[!-_a-{}~]+"  # without a back-tick and "|", which end a cell of the table
BGP_KEY = r"[!-_a-{}~]{1,80}"
_HASHES = {"sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
_CIPHERS = {
    "aes256gcm16": "AES256-GCM (128 bits)",
    "aes192gcm16": "AES192-GCM (128 bits)",
    "aes128gcm16": "AES128-GCM (128 bits)",
    "chacha20poly1305": "CHACHA20-POLY1305",
    "aes256": "AES (256 bits)",
    "aes192": "AES (192 bits)",
    "aes128": "AES (128 bits)",
}
_PRFS = {f"prf{name}": word for name, word in _HASHES.items()}
_NUMBERED = {name: f"{number} ({name})" for name, number in GROUP_NUMBERS.items()}
PFSENSE_IKE = Words(_CIPHERS, _HASHES, _NUMBERED, _PRFS, has_prf=False)
PFSENSE_ESP = Words(_CIPHERS, _HASHES, _NUMBERED)

_SWAN = {name: name for name in (*_CIPHERS, *_HASHES, *_PRFS, *GROUP_NUMBERS)}
OPNSENSE_IKE = Words(_SWAN, _SWAN, _SWAN, _SWAN, has_prf=False)
OPNSENSE_ESP = Words(_SWAN, _SWAN, _SWAN)

_IDENTITIES = {
    IdType.IPV4: "IP address",
    IdType.FQDN: "Fully qualified domain name",
    IdType.EMAIL: "User fully qualified domain name",
}


def _render(template: str, job: Job) -> list[File]:
    text = job.text(
        f"{template}.md",
        psk=partial(job.plain_psk, allowed=TYPED),
        identity=_identity,
        selectors=job.pairs,
        proposal=_proposal,
    )
    return [File(f"{template}.md", text, is_secret=job.options.secrets)]


def _identity(text: str) -> str:
    return f"{_IDENTITIES[Identity.parse(text).type]} `{text}`"


def _proposal(words: Words, suite: Suite) -> str:
    """Return a suite as OPNsense lists it: strongSwan's names, an AEAD with the PRF's hash."""
    integ = suite.integ or (suite.prf or "")[3:]
    parts = (suite.encr, integ, suite.group)
    return "-".join(words.encr[part] for part in parts if part)


PFSENSE = Device(
    name="pfsense",
    title="pfSense",
    version="CE 2.7 or later, Plus 23.09 or later",
    render=partial(_render, "pfsense"),
    ike_words=PFSENSE_IKE,
    esp_words=PFSENSE_ESP,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
        "copy_dscp",
        "child_lifetime_bytes",
        "child_lifetime_packets",
        "replay_window",
    ),
    key_ids=False,
    bgp_key=BGP_KEY,
    wan="WAN",
    longest_ike_s=1 << 31,
    longest_child_s=1 << 31,
)
OPNSENSE = Device(
    name="opnsense",
    title="OPNsense",
    version="24.1 or later",
    render=partial(_render, "opnsense"),
    ike_words=OPNSENSE_IKE,
    esp_words=OPNSENSE_ESP,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
        "copy_dscp",
        "child_lifetime_bytes",
        "child_lifetime_packets",
        "replay_window",
        "liveness_timeout_s",
    ),
    key_ids=False,
    bgp_key=BGP_KEY,
    longest_ike_s=1 << 31,
    longest_child_s=1 << 31,
)
