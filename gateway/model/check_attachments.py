"""The rules for VPC Attachments; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document, VpcAttachment, namespaces_of


def _is_made(attachment: VpcAttachment) -> bool:
    return attachment.vlan is not None or attachment.veth is not None


def _kinds(document: Document) -> Iterator[Problem]:
    for at, attachment in enumerate(document.vpc_attachment):
        path: Path = ("vpc_attachment", at)
        if attachment.vlan is not None and attachment.veth is not None:
            yield Problem((*path, "veth"), "vlan stands beside it; give one of them")
        if attachment.vlan is not None and attachment.parent is None:
            text = "needs parent beside it: the interface that carries the VLAN"
            yield Problem((*path, "vlan"), text, shown(attachment.vlan))
        if attachment.vlan is None and attachment.parent is not None:
            text = "has a meaning with vlan only"
            yield Problem((*path, "parent"), text, shown(attachment.parent))
        if attachment.parent is not None and attachment.parent == attachment.interface:
            text = "is parent too: name the VLAN's own interface"
            yield Problem((*path, "interface"), text, shown(attachment.interface))


def _interfaces(document: Document) -> Iterator[Problem]:
    """An interface is in one namespace, and one attachment alone makes it or gives it addresses."""
    places = namespaces_of(document)
    seen: list[tuple[str, VpcAttachment]] = []
    for at, attachment in enumerate(document.vpc_attachment):
        place = places.get(attachment.border_gateway, "")
        path: Path = ("vpc_attachment", at, "interface")
        for other_place, other in seen:
            if other.interface == attachment.interface and _collide(
                place == other_place, attachment, other
            ):
                text = f"vpc_attachment {other.name} has this interface"
                yield Problem(path, text, shown(attachment.interface))
                break
        seen.append((place, attachment))


def _collide(is_same_place: bool, one: VpcAttachment, other: VpcAttachment) -> bool:
    if not is_same_place:  # one device of the VM can not be in two namespaces
        return not _is_made(one) and not _is_made(other)
    return any(_is_made(each) or each.addresses for each in (one, other))


def _vlans(document: Document) -> Iterator[Problem]:
    seen: dict[tuple[str, int], str] = {}
    for at, attachment in enumerate(document.vpc_attachment):
        if attachment.vlan is None or attachment.parent is None:
            continue
        other = seen.setdefault((attachment.parent, attachment.vlan), attachment.name)
        if other != attachment.name:
            text = f"vpc_attachment {other} has this VLAN of {attachment.parent}"
            yield Problem(("vpc_attachment", at, "vlan"), text, shown(attachment.vlan))


def _far_ends(document: Document) -> Iterator[Problem]:
    places = namespaces_of(document)
    seen: dict[tuple[str, str], str] = {}
    for at, attachment in enumerate(document.vpc_attachment):
        if attachment.veth is None:
            continue
        path: Path = ("vpc_attachment", at, "veth")
        there = attachment.veth.namespace or ""
        if there == places.get(attachment.border_gateway, ""):
            text = "is the border gateway's own: the far end is to be somewhere else"
            yield Problem((*path, "namespace"), text, shown(there or "the VM's own"))
        end = (there, attachment.veth.interface)
        other = seen.setdefault(end, attachment.name)
        if other != attachment.name:
            text = f"vpc_attachment {other} has this far end"
            yield Problem((*path, "interface"), text, shown(attachment.veth.interface))


def _addresses(document: Document) -> Iterator[Problem]:
    """An address is on one interface of a namespace."""
    places = namespaces_of(document)
    seen: dict[tuple[str, object], str] = {}
    for at, attachment in enumerate(document.vpc_attachment):
        place = places.get(attachment.border_gateway, "")
        for number, address in enumerate(attachment.addresses):
            path: Path = ("vpc_attachment", at, "addresses", number)
            other = seen.get((place, address.ip))
            if other is not None:
                text = f"vpc_attachment {other} has this address"
                yield Problem(path, text, shown(str(address)))
            seen[place, address.ip] = attachment.name


def check_attachments(document: Document) -> Iterable[Problem]:
    """Yield what is wrong with the VPC Attachments of a document."""
    for rule in (_kinds, _interfaces, _vlans, _far_ends, _addresses):
        yield from rule(document)
