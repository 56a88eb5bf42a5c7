"""
VyOS 1.4 and later, as `set` commands.

A VTI for each tunnel, and FRR's BGP and BFD; with policy routing VyOS has selectors and no VTI.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import device_lifetime
from gateway.customer.suites import GROUP_NUMBERS, Words

LONGEST_AMOUNT = 26843545600000  # bytes, or packets, of a Child SA
QUOTED = r"[!#-&(-\[\]-~]+"  # what a word in single quotes may have: no quotes, no backslash
CIPHERS = {
    "aes256gcm16": "aes256gcm128",
    "aes192gcm16": "aes192gcm128",
    "aes128gcm16": "aes128gcm128",
    "chacha20poly1305": "chacha20poly1305",
    "aes256": "aes256",
    "aes192": "aes192",
    "aes128": "aes128",
}
HASHES = {name: name for name in ("sha256", "sha384", "sha512")}
IKE = Words(CIPHERS, HASHES, GROUP_NUMBERS, {f"prf{name}": f"prf{name}" for name in HASHES})
ESP = Words(CIPHERS, HASHES, GROUP_NUMBERS)


def _render(job: Job) -> list[File]:
    text = job.text(
        "vyos",
        head=linux.head(job, "In configuration mode; then: commit, save."),
        families=linux.families(job.sheet.tunnels),
        psk=partial(job.plain_psk, allowed=QUOTED),
        longer=lambda value: device_lifetime(value, LONGEST_AMOUNT),
    )
    if job.sheet.mode == "policy" and len(job.sheet.tunnels) > 1:
        job.note(
            "with policy routing VyOS sends into the first of several tunnels with equal selectors;"
            " static or bgp choose by route"
        )
    return [File("vyos.txt", text, is_secret=job.options.secrets)]


VYOS = Device(
    name="vyos",
    title="VyOS",
    version="1.4 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=("per_resource_sas", "fragment_size", "copy_dscp", "liveness_timeout_s"),
    bgp_key=QUOTED,
    ipv6=True,
    key_ids=False,
    notes=("replay windows are at most 2040 packets",),
)
