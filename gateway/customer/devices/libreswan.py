"""
libreswan 4.5 and later, with an XFRM interface (`ipsec-interface`) for each tunnel, and BIRD.

`leftupdown` puts a script of our own in place of libreswan's, which would route all that a Child SA
may carry, and that is everything.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel
from gateway.customer.suites import Suite, Words
from gateway.customer.text import label
from gateway.ike.config import Identity, IdType

LONGEST_S = 86400
QUOTED = r"[!#-\[\]-~]+"
CIPHERS = {
    "aes256gcm16": "aes_gcm256",
    "aes192gcm16": "aes_gcm192",
    "aes128gcm16": "aes_gcm128",
    "chacha20poly1305": "chacha20_poly1305",
    "aes256": "aes256",
    "aes192": "aes192",
    "aes128": "aes128",
}
HASHES = {"sha256": "sha2_256", "sha384": "sha2_384", "sha512": "sha2_512"}
GROUPS = {
    "x25519": "dh31",
    "ecp256": "dh19",
    "ecp384": "dh20",
    "ecp521": "dh21",
    "modp2048": "dh14",
    "modp3072": "dh15",
    "modp4096": "dh16",
    "modp6144": "dh17",
    "modp8192": "dh18",
}
IKE = Words(
    CIPHERS, HASHES, GROUPS, {f"prf{name}": word for name, word in HASHES.items()}, has_prf=False
)
ESP = Words(CIPHERS, HASHES, GROUPS, esn=True)


def _render(job: Job) -> list[File]:
    connection = label(job.sheet.connection)
    tunnels = job.sheet.tunnels
    conf = job.text(
        "libreswan.conf",
        head=linux.head(job, f"/etc/ipsec.d/{connection}.conf"),
        identity=_identity,
        ike=lambda tunnel: _suite_text(IKE, job.ike(tunnel)),
        esp=lambda tunnel: _suite_text(ESP, job.esp(tunnel)),
        pairs=partial(_pairs, job),
    )
    keys = job.text(
        "libreswan.secrets",
        head=linux.head(job, f"/etc/ipsec.d/{connection}.secrets, mode 0600"),
        identity=_identity,
        psk=partial(_psk, job),
    )
    updown = job.text(
        "libreswan-updown.sh",
        head=linux.head(job, f"/etc/ipsec.d/{connection}-updown.sh, executable"),
        routes=lambda tunnel: linux.routes(job, tunnel, _interface(job, tunnel)),
    )
    setup = job.text(
        "libreswan-setup.sh",
        head=linux.head(job, "Run it at boot: without a tunnel these prefixes go nowhere."),
    )
    files = [
        File(f"{connection}.conf", conf),
        File(f"{connection}.secrets", keys, is_secret=job.options.secrets),
        File(f"{connection}-updown.sh", updown),
        File("setup.sh", setup),
    ]
    if job.sheet.mode == "bgp":
        files.append(linux.bird(job, tunnels, partial(_interface, job)))
    return files


def _interface(job: Job, tunnel: SheetTunnel) -> str:
    return f"ipsec{job.number(tunnel)}"


def _suite_text(words: Words, suite: Suite) -> str:
    """Return a suite as `ike` and `esp` have it: cipher, hash, group."""
    integ = words.integ[suite.integ] if suite.integ else "none"
    if suite.integ is None and suite.prf is not None:
        integ = words.prf[suite.prf]
    group = words.group[suite.group] if suite.group else None
    return "-".join(part for part in (words.encr[suite.encr], integ, group) if part)


def _pairs(job: Job, tunnel: SheetTunnel) -> list[tuple[object, object]]:
    """Return the pairs of prefixes of each Child SA; of a routed tunnel one for all."""
    found = linux.selectors(job, tunnel)
    return [(device, cloud) for devices, clouds in found for device in devices for cloud in clouds]


def _identity(text: str) -> str:
    kind = Identity.parse(text).type
    return f"@{text}" if kind is IdType.FQDN else text


def _psk(job: Job, tunnel: SheetTunnel) -> str:
    text, is_hex = job.psk_or_hex(tunnel, QUOTED)
    return f"0x{text}" if is_hex else f'"{text}"'


LIBRESWAN = Device(
    name="libreswan",
    title="libreswan with XFRM interfaces and BIRD",
    version="libreswan 4.5 or later, BIRD 2.0.12 or later, Linux 4.19 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
        "copy_dscp",
        "child_lifetime_bytes",
        "child_lifetime_packets",
    ),
    key_ids=False,
    tcp_ao=True,
    longest_ike_s=LONGEST_S,
    longest_child_s=LONGEST_S,
    notes=("let UDP ports 500 and 4500 and IP protocol 50 pass from and to the gateway",),
)
