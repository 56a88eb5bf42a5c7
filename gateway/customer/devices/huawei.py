"""
Huawei USG6000 and USG9500, V500R005 and later, as commands.

A tunnel interface with an IPsec profile for each tunnel, in the zone "untrust"; with policy routing
an IPsec policy on the outside interface. AES-CBC alone: not every release has AES-GCM.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.suites import Words
from gateway.ike.config import Identity, IdType

KILOBYTES = (256, 200000000)
KEY = r"[!#-&(->@-~]{1,128}"  # without quotes and "?", which asks for help
CBC = {"aes256": "aes-256", "aes192": "aes-192", "aes128": "aes-128"}
HASHES = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}
NUMBERS = {
    "ecp256": "group19",
    "ecp384": "group20",
    "ecp521": "group21",
    "modp2048": "group14",
    "modp3072": "group15",
    "modp4096": "group16",
}
IKE = Words(CBC, HASHES, NUMBERS, {f"prf{name}": f"hmac-{word}" for name, word in HASHES.items()})
ESP = Words(CBC, HASHES, {name: f"dh-{word}" for name, word in NUMBERS.items()})
_ID_TYPES = {IdType.IPV4: "ip", IdType.FQDN: "fqdn", IdType.EMAIL: "user-fqdn"}


def _render(job: Job) -> list[File]:
    text = job.text(
        "huawei-usg",
        head=linux.head(job, "Paste it in user view."),
        id_type=lambda identity: _ID_TYPES[Identity.parse(identity).type],
        psk=partial(job.plain_psk, allowed=KEY),
    )
    if job.sheet.mode == "policy" and len(job.sheet.tunnels) > 1:
        job.note(
            "with policy routing the first IPsec policy that fits takes the traffic; static or bgp"
            " change over to the other tunnel by themselves"
        )
    return [File("huawei-usg.txt", text, is_secret=job.options.secrets)]


HUAWEI = Device(
    name="huawei-usg",
    title="Huawei USG",
    version="V500R005 or later",
    render=_render,
    ike_words=IKE,
    esp_words=ESP,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
        "copy_dscp",
        "child_lifetime_packets",
        "replay_window",
    ),
    kilobytes=KILOBYTES,
    bgp_key=KEY,
    key_ids=False,
    wan="GigabitEthernet1/0/1",
    longest_child_s=604800,
    notes=('the zones are taken for "trust" and "untrust"',),
)
