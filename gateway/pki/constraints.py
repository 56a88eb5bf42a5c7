"""
Name constraints (RFC 5280 section 4.2.1.10): which names the certificates under a CA may bear.

Kinds of names for which a constraint is given and that are not judged here are refused: a CA that
is limited must not get more than it was given.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509

from gateway.pki import dn
from gateway.pki.certificate import Certificate
from gateway.pki.problem import NotTrusted


def check(way: tuple[Certificate, ...]) -> None:
    """Judge a way from the peer's certificate upward. Raises NotTrusted."""
    for at, issuer in enumerate(way[1:], 1):
        limits = issuer.extension(x509.NameConstraints)
        if limits is None:
            continue
        for below in way[:at]:
            # Self-issued ones are exempt, but for the last (section 6.1.3).
            if below is not way[0] and below.subject == below.issuer:
                continue
            for name in _names(below):
                _check_name(name, limits, below, issuer)


def _names(one: Certificate) -> Iterable[x509.GeneralName]:
    if one.x509.subject.rdns:
        yield x509.DirectoryName(one.x509.subject)
    yield from one.extension(x509.SubjectAlternativeName) or ()


def _check_name(
    name: x509.GeneralName, limits: x509.NameConstraints, one: Certificate, issuer: Certificate
) -> None:
    allowed = [tree for tree in limits.permitted_subtrees or () if type(tree) is type(name)]
    denied = [tree for tree in limits.excluded_subtrees or () if type(tree) is type(name)]
    if allowed and not any(_is_within(name, tree, unsure=False) for tree in allowed):
        raise _outside(name, one, issuer)
    if any(_is_within(name, tree, unsure=True) for tree in denied):
        raise _outside(name, one, issuer)


def _outside(name: x509.GeneralName, one: Certificate, issuer: Certificate) -> NotTrusted:
    return NotTrusted(
        "certificate_invalid",
        f"the certificate {one.name} has a name that {issuer.name} may not certify",
        "",
        _text(name),
        "the name constraints of that CA say which names it may certify",
    )


def _text(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DirectoryName):
        return dn.text_of(name.value.public_bytes())
    return str(name.value)


def _is_within(name: x509.GeneralName, tree: x509.GeneralName, *, unsure: bool) -> bool:
    match name, tree:
        case x509.DNSName(), x509.DNSName():
            return _is_under(name.value, tree.value.removeprefix("."))
        case x509.RFC822Name(), x509.RFC822Name():
            return _is_mail_within(name.value.casefold(), tree.value.casefold())
        case x509.UniformResourceIdentifier(), x509.UniformResourceIdentifier():
            return unsure
        case x509.IPAddress(), x509.IPAddress():
            return _is_address_within(name.value, tree.value)
        case x509.DirectoryName(), x509.DirectoryName():
            return dn.is_within(name.value.public_bytes(), tree.value.public_bytes())
        case _:
            return unsure


def _is_under(name: str, domain: str) -> bool:
    name, domain = name.casefold(), domain.casefold()
    return not domain or name == domain or name.endswith("." + domain)


def _is_mail_within(name: str, tree: str) -> bool:
    """The three forms of section 4.2.1.10: one mailbox, one host, and all hosts of a domain."""
    if "@" in tree:
        return name == tree
    host = name.rpartition("@")[2]
    return host.endswith(tree) if tree.startswith(".") else host == tree


def _is_address_within(
    name: IPv4Address | IPv6Address | IPv4Network | IPv6Network,
    tree: IPv4Address | IPv6Address | IPv4Network | IPv6Network,
) -> bool:
    if not isinstance(tree, IPv4Network | IPv6Network):
        return name == tree
    return isinstance(name, IPv4Address | IPv6Address) and name in tree
