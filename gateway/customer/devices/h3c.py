"""
H3C routers and firewalls, Comware 7, as commands.

A tunnel interface of mode ipsec for each tunnel; with policy routing an IPsec policy on the outside
interface. AES-CBC alone: not every Comware 7 has AES-GCM.
"""

from __future__ import annotations

from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.suites import Words
from gateway.ike.config import Identity, IdType

KILOBYTES = (2560, 4294967295)
KEY = r"[!#-&(->@-~]{1,128}"  # without quotes and "?", which asks for help
CBC = {"aes256": "aes-cbc-256", "aes192": "aes-cbc-192", "aes128": "aes-cbc-128"}
HASHES = {name: name for name in ("sha256", "sha384", "sha512")}
NUMBERS = {"ecp256": "group19", "ecp384": "group20", "modp2048": "group14"}
IKE = Words(CBC, HASHES, NUMBERS, {f"prf{name}": name for name in HASHES})
ESP = Words(CBC, HASHES, {name: f"dh-{word}" for name, word in NUMBERS.items()})


def _render(job: Job) -> list[File]:
    text = job.text(
        "h3c",
        head=linux.head(job, "Paste it in user view."),
        identity=_identity,
        psk=partial(job.plain_psk, allowed=KEY),
    )
    if job.sheet.mode == "policy" and len(job.sheet.tunnels) > 1:
        job.note(
            "with policy routing the first IPsec policy that fits takes the traffic; static or bgp"
            " change over to the other tunnel by themselves"
        )
    return [File("h3c.txt", text, is_secret=job.options.secrets)]


def _identity(text: str) -> str:
    kind = Identity.parse(text).type
    if kind is IdType.IPV4:
        return f"address {text}"
    return f"{'email' if kind is IdType.EMAIL else 'fqdn'} {text}"


H3C = Device(
    name="h3c",
    title="H3C",
    version="Comware 7",
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
    notes=(
        "on a firewall, put the tunnel interfaces into a security zone and let it speak with the"
        " inside one",
    ),
)
