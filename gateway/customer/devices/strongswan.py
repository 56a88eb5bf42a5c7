"""
strongSwan 5.9 and later, by swanctl: three devices of one module.

With XFRM interfaces (Linux 4.19 and later with CONFIG_XFRM_INTERFACE) one machine holds all
tunnels; each has an interface, and routes choose. Without them kernel-libipsec does ESP in charon;
it has one TUN device for all tunnels, so each tunnel needs a machine of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gateway.customer.device import Device, File, Job
from gateway.customer.devices import linux
from gateway.customer.sheet import SheetTunnel, device_lifetime
from gateway.customer.suites import further_exchanges
from gateway.customer.text import label, text_or_hex
from gateway.ike.iana import TransformType
from gateway.ike.proposals import Proposal
from gateway.model.tunnels import interface_name

LIBIPSEC_DEVICE = "ipsec0"
RETRANSMIT_SUM = 13.1875  # of 1.5 to the power of 0 to 4: five waits, the first of them one
SAFE = r"[A-Za-z0-9!#$%&()*+,./:;<=>?@^_~-]+"


def _xfrm(job: Job) -> list[File]:
    tunnels = job.sheet.tunnels
    files = [_swanctl(job, tunnels, is_kernel=True), _charon(job, tunnels, is_kernel=True)]
    where = "Run it at boot, before strongSwan starts: it makes the tunnels' interfaces."
    setup = job.text("xfrm-setup.sh", head=linux.head(job, where), if_id=linux.if_id)
    return [*files, File("setup.sh", setup)]


def _steps(job: Job, router: str) -> None:
    """Say what is to be done with the files, in order."""
    is_bgp = job.sheet.mode == "bgp"
    packages = "charon-systemd strongswan-swanctl libcharon-extra-plugins"
    more, unit = (f" {router}", f" {router.removesuffix('2')}") if is_bgp else ("", "")
    job.note(
        f"on Debian: apt install {packages}{more}; put each file where its third line says,"
        " swanctl.conf with mode 0600; sh setup.sh (now, and at each boot); systemctl restart"
        f" strongswan{unit}"
    )


def _with_bird(job: Job) -> list[File]:
    _steps(job, "bird2")
    is_bgp = job.sheet.mode == "bgp"
    return [*_xfrm(job), *([linux.bird(job, job.sheet.tunnels, _interface)] if is_bgp else [])]


def _with_frr(job: Job) -> list[File]:
    _steps(job, "frr")
    is_bgp = job.sheet.mode == "bgp"
    return [*_xfrm(job), *([linux.frr(job, job.sheet.tunnels, _interface)] if is_bgp else [])]


def _libipsec(job: Job) -> list[File]:
    """Return the files of each tunnel's machine; a folder for each where there are several."""
    tunnels = job.sheet.tunnels
    _steps(job, "bird2")
    if job.sheet.mode == "policy":
        job.note(
            "with policy routing, kernel-libipsec before strongSwan 5.9.12 needs an address of the"
            " machine within each prefix of its own"
        )
    if len(tunnels) == 1:
        return _machine(job, tunnels[0])
    job.note(
        "kernel-libipsec has one TUN device: each tunnel, in a folder of its name, needs a machine"
        " of its own; --tunnel NAME makes the files of one"
    )
    return [
        replace(file, name=f"{label(tunnel.name)}/{file.name}")
        for tunnel in tunnels
        for file in _machine(job, tunnel)
    ]


def _machine(job: Job, tunnel: SheetTunnel) -> list[File]:
    where = "Run it at boot, before strongSwan starts."
    files = [
        _swanctl(job, (tunnel,), is_kernel=False),
        _charon(job, (tunnel,), is_kernel=False),
        File("setup.sh", job.text("libipsec-setup.sh", head=linux.head(job, where))),
    ]
    if job.sheet.mode == "bgp":
        files.append(linux.bird(job, (tunnel,), lambda _: LIBIPSEC_DEVICE))
    return files


def _interface(tunnel: SheetTunnel) -> str:
    return interface_name(tunnel.name)


def _swanctl(job: Job, tunnels: Sequence[SheetTunnel], *, is_kernel: bool) -> File:
    where = f"/etc/swanctl/conf.d/{label(job.sheet.connection)}.conf; then: swanctl --load-all"
    text = job.text(
        "swanctl.conf",
        head=linux.head(job, where),
        chosen=tunnels,
        is_kernel=is_kernel,
        ike=partial(_ike, job),
        hybrid=_hybrid,
        esp=partial(_esp, job, is_kernel=is_kernel),
        longer=lambda value: device_lifetime(value, 1 << 62),
        identity=_identity,
        selectors=partial(linux.selectors, job),
        if_id=linux.if_id,
        psk=lambda tunnel: _key(job.psk(tunnel)),
        ppk=lambda tunnel: _key(job.ppk(tunnel) or ""),
        updown=partial(_updown, job, is_kernel=is_kernel),
    )
    return File("swanctl.conf", text, is_secret=job.options.secrets)


def _charon(job: Job, tunnels: Sequence[SheetTunnel], *, is_kernel: bool) -> File:
    timeout_s = min(one.liveness_timeout_s for one in tunnels)
    where = "/etc/strongswan.d/twinspan.conf; it holds for all connections of this machine."
    text = job.text(
        "charon.conf",
        head=linux.head(job, where),
        is_kernel=is_kernel,
        timeout=f"{timeout_s:g}",
        first_wait=round(timeout_s / RETRANSMIT_SUM, 2),
    )
    return File("charon.conf", text)


def _ike(job: Job, tunnel: SheetTunnel) -> str:
    """Return the IKE proposals without those that need further key exchanges: strongSwan 6 has."""
    job.ike(tunnel)  # refuses a list that has nothing else
    return ",".join(str(one) for one in tunnel.ike_proposals if not further_exchanges(one))


def _hybrid(proposals: tuple[Proposal, ...]) -> str:
    """Return the proposals that need further key exchanges (RFC 9370), as text."""
    return ",".join(str(one) for one in proposals if further_exchanges(one))


def _esp(job: Job, tunnel: SheetTunnel, *, is_kernel: bool) -> str:
    """Return the ESP proposals: all of the gateway's; without ESN for libipsec, which has none."""
    job.esp(tunnel)  # refuses a list that has nothing for it
    proposals = [one for one in tunnel.esp_proposals if not further_exchanges(one)]
    if is_kernel:
        return ",".join(str(proposal) for proposal in proposals)
    return ",".join(
        str(_without_esn(proposal))
        for proposal in proposals
        if any(one.type == TransformType.ESN and one.id == 0 for one in proposal.transforms)
    )


def _without_esn(proposal: Proposal) -> Proposal:
    kept = tuple(one for one in proposal.transforms if one.type != TransformType.ESN)
    return replace(proposal, transforms=kept)


def _identity(text: str) -> str:
    return f"@#{text[6:]}" if text.startswith("keyid:") else text


def _key(text: str) -> str:
    if text.startswith(("0x", "0s")):
        return text
    plain, is_hex = text_or_hex(text, SAFE)
    return f"0x{plain}" if is_hex else plain


def _updown(job: Job, tunnel: SheetTunnel, *, is_kernel: bool) -> str:
    """Return the shell commands that charon runs when a Child SA comes and goes; "" for none."""
    if is_kernel:
        up, down = linux.routes(job, tunnel, _interface(tunnel))
    elif job.sheet.mode == "policy":
        return ""  # the plugin makes the routes of its selectors
    else:
        up, down = linux.routes(job, tunnel, LIBIPSEC_DEVICE)
        if tunnel.device_inner is not None:  # the device is new with each charon
            way = f"{tunnel.device_inner} dev {LIBIPSEC_DEVICE}"
            # BIRD 2.0 takes the new device for the old one, with its address, and BFD then sends
            # nothing. It must see the address go.
            comes = [f"ip address replace {way}", f"ip address del {way}"] if tunnel.bgp else []
            up = [*comes, f"ip address replace {way}", *up]
    if not up:
        return ""
    # charon puts a redirection in front, which no `case` may have.
    cases = [f"up-*) {'; '.join(up)};;", *([f"down-*) {'; '.join(down)};;"] if down else [])]
    return f"true; case $PLUTO_VERB in {' '.join(cases)} esac"


_NOTES = ("let UDP ports 500 and 4500 and IP protocol 50 pass from and to the gateway's addresses",)

STRONGSWAN = Device(
    name="strongswan",
    title="strongSwan with XFRM interfaces and BIRD",
    version="strongSwan 5.9 or later, BIRD 2.0.12 or later, Linux 4.19 or later",
    render=_with_bird,
    ike_words=linux.ALL,
    esp_words=linux.ALL,
    unsaid=(
        "per_resource_sas",
        "fragment_size",
    ),
    ipv6=True,
    selectors=True,
    tcp_ao=True,
    ppk=True,
    auths=frozenset({"psk", "certificate"}),
    one_pair=False,
    longest_ike_s=linux.LONGEST_S,
    longest_child_s=linux.LONGEST_S,
    notes=_NOTES,
)
STRONGSWAN_FRR = replace(
    STRONGSWAN,
    name="strongswan-frr",
    title="strongSwan with XFRM interfaces and FRR",
    version="strongSwan 5.9 or later, FRR 8.4 or later, Linux 4.19 or later",
    render=_with_frr,
    tcp_ao=False,
)
STRONGSWAN_LIBIPSEC = replace(
    STRONGSWAN,
    name="strongswan-libipsec",
    title="strongSwan with kernel-libipsec and BIRD",
    version="strongSwan 5.9 or later, BIRD 2.0.12 or later, any Linux",
    render=_libipsec,
    esp_words=replace(linux.ALL, esn=False),
    unsaid=("per_resource_sas", "fragment_size", "replay_window", "copy_dscp"),
    notes=(
        *_NOTES,
        "kernel-libipsec does ESP in UDP only, with an MTU of 1400 bytes inside",
    ),
)
