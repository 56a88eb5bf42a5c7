"""The rules for VPC Attachments whose router speaks BGP; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from gateway.model.check_lines import peer_text
from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document, VpcAttachment, namespaces_of
from gateway.model.settings import BgpSettings
from gateway.model.types import AnyInterface

_FOR_ROUTER = "has a meaning with peer_address only: BGP with the VPC's router"
_FOR_TABLE = "has a meaning with peer_address or veth only: where the customers' routes go"


def check_vpc_bgp(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with the BGP of a document's VPC Attachments."""
    ours = {gateway.name: gateway.asn for gateway in document.border_gateway}
    for at, attachment in enumerate(document.vpc_attachment):
        path: Path = ("vpc_attachment", at)
        if attachment.peer_address is None:
            yield from _without_router(document, attachment, path)
            continue
        yield from _numbers(attachment, path, ours.get(attachment.border_gateway))
        yield from _address(attachment, path)
        yield from _told(attachment, path)


def _without_router(document: Document, attachment: VpcAttachment, path: Path) -> Iterator[Problem]:
    for key in _given(attachment, "peer_asn", *BgpSettings.model_fields):
        yield Problem((*path, key), _FOR_ROUTER)
    if attachment.veth is None:
        for key in _given(attachment, "propagate_cidrs", "propagate_priority"):
            yield Problem((*path, key), _FOR_TABLE)
    elif attachment.propagate_cidrs:
        there = attachment.veth.namespace or ""
        if there in {"", *namespaces_of(document).values()}:
            text = "veth leads to a namespace of the gateway: its routes are not a VPC's"
            yield Problem((*path, "propagate_cidrs"), text)
        elif not any(own.ip in far.network for own, far in _ends(attachment)):
            text = "needs an address of ours and one of veth in one network: it is the next hop"
            yield Problem((*path, "propagate_cidrs"), text)


def _ends(attachment: VpcAttachment) -> Iterator[tuple[AnyInterface, AnyInterface]]:
    far = attachment.veth.addresses if attachment.veth else ()
    return product(attachment.addresses, far)


def _given(attachment: VpcAttachment, *keys: str) -> Iterator[str]:
    fields = VpcAttachment.model_fields
    return (key for key in keys if getattr(attachment, key) != fields[key].default)


def _numbers(attachment: VpcAttachment, path: Path, ours: int | None) -> Iterator[Problem]:
    if attachment.peer_asn is None:
        yield Problem((*path, "peer_asn"), "is required with peer_address")
    elif attachment.peer_asn == ours:
        text = "is the border gateway's AS number too: give two different ones"
        yield Problem((*path, "peer_asn"), text, str(attachment.peer_asn))
    keepalive, hold = attachment.bgp_keepalive_s, attachment.bgp_hold_s
    if keepalive is not None and keepalive >= hold:
        text = f"must be less than bgp_hold_s {hold}"
        yield Problem((*path, "bgp_keepalive_s"), text, str(keepalive))


def _address(attachment: VpcAttachment, path: Path) -> Iterator[Problem]:
    """The session needs an address of ours beside the router's."""
    peer = attachment.peer_address
    assert peer is not None
    near = [own for own in attachment.addresses if peer in own.network]
    if not near:
        text = "is in the network of none of addresses: the session needs one of ours beside it"
        yield Problem((*path, "peer_address"), text, shown(str(peer)))
    elif text := peer_text(peer, near[0]):
        yield Problem((*path, "peer_address"), text, shown(str(peer)))


def _told(attachment: VpcAttachment, path: Path) -> Iterator[Problem]:
    """The session carries the routes of its own addresses' IP version."""
    peer = attachment.peer_address
    assert peer is not None
    for place, cidr in enumerate(attachment.propagate_cidrs):
        if cidr.version != peer.version:
            text = "is not of the IP version of peer_address: nothing of it is told"
            yield Problem((*path, "propagate_cidrs", place), text, shown(str(cidr)))
    if not any(cidr.version == peer.version for cidr in attachment.cidrs):
        text = "names nothing of peer_address's IP version: nothing is learned from it"
        yield Problem((*path, "cidrs"), text, is_warning=True)
