"""The rules for certificates and keys of VPN Tunnels; `check_tunnels.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.ike.config import Identity
from gateway.model.locate import Path
from gateway.model.problem import FILE_KEYS, Problem, shown
from gateway.model.resources import Document
from gateway.model.settings import TunnelSettings
from gateway.model.tunnels import ResolvedTunnel
from gateway.model.types import UNSEEN_KEY

if TYPE_CHECKING:
    from gateway.pki.keys import PrivateKey, PublicKey

CA_MAX = 32  # certificates in ca
CHAIN_MAX = 6
_FILE_OF = {key: file for file, key in FILE_KEYS.items()}
_NEEDED = {
    "psk": (),
    "certificate": ("certificate", "private_key", "ca"),
    "raw-key": ("private_key", "remote_public_key"),
}
Finding = tuple[str, str]  # a key, and what is wrong with it


def auth_rule(document: Document, tunnels: tuple[ResolvedTunnel, ...]) -> Iterator[Problem]:
    """Judge how tunnels authenticate; the same finding at one place is reported once."""
    seen: set[Path] = set()
    for tunnel in tunnels:
        for key, text in (*_auth_findings(tunnel), *_identity_findings(tunnel)):
            path = tunnel.path_of(key)
            if getattr(tunnel.settings, key) is None:  # it belongs where `auth` stands
                path = (*tunnel.path_of("auth")[:-1], path[-1])
            if path not in seen:
                seen.add(path)
                value = getattr(tunnel.settings, key) if key in ("local_id", "remote_id") else None
                yield Problem(path, text, shown(value) if value else "")


def _auth_findings(tunnel: ResolvedTunnel) -> Iterator[Finding]:
    settings = tunnel.settings
    if settings.auth == "psk":
        if "auth" not in tunnel.connection.model_fields_set | tunnel.tunnel.model_fields_set:
            for key in ("certificate", "remote_public_key"):
                if getattr(settings, key) is not None:
                    kind = "certificate" if key == "certificate" else "raw-key"
                    yield key, f'needs auth = "{kind}" beside it'
        return
    for key in _NEEDED[settings.auth]:
        has_file = getattr(settings, _FILE_OF[key]) is not None  # it could not be read: reported
        if getattr(settings, key) is None and not has_file:
            yield key, f'is required with auth = "{settings.auth}": {key} or {_FILE_OF[key]}'
    from gateway.pki.problem import BadText

    for key, judge in (
        ("private_key", _judge_private_key),
        ("ca", _judge_ca),
        ("remote_public_key", _judge_public_key),
        ("certificate", _judge_certificate),
    ):
        try:
            judge(settings)
        except BadText as error:
            yield key, str(error)


def _judge_private_key(settings: TunnelSettings) -> None:
    from gateway.pki.problem import BadText

    own = own_key(settings)
    weakness = own.public.weakness(settings.allow_legacy) if own is not None else ""
    if weakness:
        raise BadText(f"is {weakness}")


def own_key(settings: TunnelSettings) -> PrivateKey | None:
    """Return our private key, None if there is none or it is not shown here. Raises BadText."""
    if settings.private_key is None:
        return None
    text = settings.private_key.get_secret_value()
    return None if text == UNSEEN_KEY else _private_key(text)


@lru_cache(256)
def _private_key(text: str) -> PrivateKey:
    from gateway.pki.keys import private_key_of

    return private_key_of(text)


def peer_key(settings: TunnelSettings) -> PublicKey | None:
    """Return the peer's public key, None if there is none. Raises BadText."""
    from gateway.pki.keys import public_key_of

    text = settings.remote_public_key
    return None if text is None else public_key_of(text)


def _judge_public_key(settings: TunnelSettings) -> None:
    from gateway.pki.problem import BadText

    found = peer_key(settings) if settings.auth == "raw-key" else None
    weakness = found.weakness(settings.allow_legacy) if found is not None else ""
    if weakness:
        raise BadText(f"is {weakness}")
    own = own_key(settings) if found is not None else None
    if own is not None and own.public == found:
        raise BadText("is the public half of private_key, which is ours")


def _judge_ca(settings: TunnelSettings) -> None:
    from gateway.pki.certificate import certificates_of

    if settings.ca is not None and settings.auth == "certificate":
        certificates_of(settings.ca, CA_MAX)


def _judge_certificate(settings: TunnelSettings) -> None:
    from gateway.pki.certificate import certificates_of
    from gateway.pki.problem import BadText

    if settings.certificate is None or settings.auth != "certificate":
        return
    chain = certificates_of(settings.certificate, CHAIN_MAX)
    for lower, upper in pairwise(chain):
        if not lower.is_issued_by(upper):
            raise BadText(f"{upper.name} stands after {lower.name}, and has not issued it")
    try:
        own = own_key(settings)
    except BadText:
        return  # which is reported
    if own is not None and own.public != chain[0].key:
        raise BadText(f"{chain[0].name} is not for private_key; ours stands first")


def _identity_findings(tunnel: ResolvedTunnel) -> Iterator[Finding]:
    from gateway.pki.problem import BadText

    settings = tunnel.settings
    is_certificate = settings.auth == "certificate"
    remote = tunnel.remote_id
    if remote is not None and not is_certificate and Identity.parse(remote).is_pattern:
        yield "remote_id", 'stands for several, which needs auth = "certificate"'
    if settings.local_id is None:
        return
    local = Identity.parse(settings.local_id)
    if local.is_pattern:
        yield "local_id", "has a * in it: ours is one"
    if not is_certificate or settings.certificate is None:
        return
    from gateway.pki import names
    from gateway.pki.certificate import certificates_of

    try:
        own = certificates_of(settings.certificate, CHAIN_MAX)[0]
    except BadText:
        return
    if not names.bears(own, local.type.value, local.value):
        there = names.identities_of(own)
        yield "local_id", f"does not stand in our certificate, which bears: {there}"
