"""
How each end proves its identity in IKE_AUTH: by a pre-shared key (RFC 7296 section 2.15), or by a
signature with a certificate or a raw public key (RFC 7427, RFC 7670).

A peer is judged in the order of cost, and nobody is asked anything about it before its signature is
verified: identity, chain, signature, the identity in the certificate, revocation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import AuthenticationFailed
from gateway.ike.auth import is_same, psk_auth, signed_octets
from gateway.ike.config import Ppk, TunnelConfig, describe_identity, is_identity
from gateway.ike.iana import AuthMethod, CertEncoding, NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.keymat import mix_ppk
from gateway.ike.message import Message
from gateway.ike.payloads import (
    Auth,
    Certificate,
    CertificateRequest,
    IdInitiator,
    IdResponder,
    Notify,
    Payload,
)
from gateway.pki import certificate, chain, names, revocation, signatures
from gateway.pki.credentials import Credentials
from gateway.pki.keys import PublicKey
from gateway.pki.problem import BadText, NotTrusted
from gateway.pki.question import Mode, Question

AUTHORITIES_MAX = 8  # hashes in a CERTREQ: the answer to IKE_SA_INIT must stay small
HELD_MAX = 4  # OCSP answers and the like of one message that are looked at
Identity = IdInitiator | IdResponder


@dataclass(frozen=True, slots=True)
class PeerProof:
    """By what the peer has authenticated."""

    method: str  # as in "ECDSA with SHA2-256"
    name: str = ""  # the subject of its certificate, or its raw key
    ends_at: float = 0.0  # of the certificate that ends first, in seconds since 1970; 0 = never
    fingerprint: str = ""  # SHA-256 of its certificate


class Undecided(Exception):
    """The peer of a tunnel is to be trusted unless one of these answers says that it is not."""

    def __init__(self, tunnel: str, questions: tuple[Question, ...]) -> None:
        super().__init__("revocation is not known yet")
        self.tunnel = tunnel
        self.questions = questions


# ---- IKE_SA_INIT ----


def announce(configs: Iterable[TunnelConfig]) -> tuple[Notify, ...]:
    """Return the hashes that the peer's signatures may use (RFC 7427 section 4)."""
    known = [one.credentials for one in configs if one.credentials is not None]
    if not known:
        return ()
    hashes = list(signatures.OURS)
    if any(one.allow_legacy for one in known):
        hashes.append(signatures.SHA1_ID)
    data = b"".join(one.to_bytes(2, "big") for one in hashes)
    return (Notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, data),)


def hashes_of(message: Message) -> frozenset[int]:
    """Return the hashes that a peer has announced."""
    notify = message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    data = notify.data if notify is not None else b""
    return frozenset(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def ask(configs: Iterable[TunnelConfig]) -> tuple[CertificateRequest, ...]:
    """Return the CERTREQ that names whom we trust (RFC 7296 section 3.7)."""
    known = [one.credentials for one in configs if one.credentials is not None]
    found: list[CertificateRequest] = []
    anchors = dict.fromkeys(anchor.key_id for one in known for anchor in one.anchors)
    if anchors:
        value = b"".join(tuple(anchors)[:AUTHORITIES_MAX])
        found.append(CertificateRequest(CertEncoding.X509_SIGNATURE, value))
    if any(one.peer_keys for one in known):
        found.append(CertificateRequest(CertEncoding.RAW_PUBLIC_KEY, b""))
    return tuple(found)


# ---- ours ----


def shown(config: TunnelConfig) -> tuple[Payload, ...]:
    """Return our certificate and those above it, or our raw key; nothing with a pre-shared key."""
    credentials = config.credentials
    if credentials is None:
        return ()
    if not credentials.chain:
        return (Certificate(CertEncoding.RAW_PUBLIC_KEY, credentials.key.public.spki),)
    return tuple(Certificate(CertEncoding.X509_SIGNATURE, one.der) for one in credentials.chain)


def own_flaw(config: TunnelConfig, at: float) -> str:
    """Return why no peer can trust our certificate at this time, in seconds since 1970, or ""."""
    credentials = config.credentials
    for one in credentials.chain if credentials is not None else ():
        problem = chain.out_of_date(one, at)
        if problem is not None:
            return problem.text
    return ""


def make(sa: IkeSa, config: TunnelConfig, identity: Identity, ppk: Ppk | None) -> Auth:
    """Return our AUTH. Raises NotTrusted if we can sign nothing that the peer accepts."""
    octets = octets_of(sa, identity, ppk)
    credentials = config.credentials
    if credentials is None:
        return Auth(AuthMethod.PSK, _psk_data(sa, config, octets))
    key = credentials.key
    if sa.peer_hashes:
        scheme = signatures.choose(key, sa.peer_hashes, credentials.use_pss)
        if scheme is not None:
            return Auth(AuthMethod.SIGNATURE, signatures.sign(key, scheme, octets))
    else:
        old = signatures.sign_old(key, octets, credentials.allow_legacy)
        if old is not None:
            return Auth(*old)
    raise _no_signature(sa, key.public)


def _no_signature(sa: IkeSa, key: PublicKey) -> NotTrusted:
    theirs = "hashes " + ", ".join(str(one) for one in sorted(sa.peer_hashes))
    return NotTrusted(
        "auth_method_mismatch",
        "our key can make no signature that the peer accepts",
        str(key),
        theirs if sa.peer_hashes else "no signatures of RFC 7427",
        "a peer without RFC 7427 needs an ECDSA certificate; RSA with SHA-1 needs allow_legacy",
    )


def octets_of(sa: IkeSa, identity: Identity, ppk: Ppk | None) -> bytes:
    """
    Return what the end authenticates whose ID payload this is (RFC 7296 section 2.15), with or
    without a post-quantum pre-shared key.
    """
    assert sa.suite is not None
    assert sa.keys is not None
    secrets, prf, int_auth = sa.keys.secrets, sa.suite.prf, sa.further.int_auth
    if ppk is not None:
        secrets = mix_ppk(prf, secrets, ppk.key)
    body = identity.serialise()
    if isinstance(identity, IdInitiator):
        return signed_octets(sa.init_request, sa.nonce_r, prf, secrets.sk_pi, body, int_auth)
    return signed_octets(sa.init_response, sa.nonce_i, prf, secrets.sk_pr, body, int_auth)


def _psk_data(sa: IkeSa, config: TunnelConfig, octets: bytes) -> bytes:
    assert sa.suite is not None
    assert config.psk is not None
    return psk_auth(sa.suite.prf, config.psk, octets)


# ---- the peer's ----


def fits(config: TunnelConfig, identity: Identity) -> bool:
    """Return whether an identity is the one that a tunnel is for, or one of those."""
    wanted = config.remote_id
    if wanted is None:
        return True
    if config.credentials is None:
        return is_identity(wanted, identity.id_type, identity.value)
    return names.fits(identity.id_type, identity.value, wanted.type.value, wanted.value)


def is_ours(config: TunnelConfig, wanted: IdResponder) -> bool:
    """Return whether the identity that an initiator asks for is ours of a tunnel."""
    return is_identity(config.local_id, wanted.id_type, wanted.value)


def verify(
    sa: IkeSa, config: TunnelConfig, message: Message, claim: tuple[Ppk | None, bytes], now: float
) -> PeerProof | None:
    """
    Verify the peer's AUTH; `claim` is the post-quantum key that it covers, and its data. Returns
    None for a pre-shared key. Raises AuthenticationFailed, or Undecided.
    """
    ppk, data = claim
    method = message.one(Auth).method
    octets = octets_of(sa, _identity(message), ppk)
    if config.credentials is None:
        if method in _SIGNATURES:
            raise _other_method(_SHARED_KEY, _SIGNATURE)
        if method != AuthMethod.PSK or not is_same(_psk_data(sa, config, octets), data):
            raise AuthenticationFailed("AUTH is wrong")
        return None
    if method == AuthMethod.PSK:
        raise _other_method(_SIGNATURE, _SHARED_KEY)
    given = _given(message, CertEncoding.X509_SIGNATURE)
    raw = _raw_key(config.credentials, message, bool(given))
    if raw is not None:
        legacy = config.credentials.allow_legacy
        signed = signatures.verify(raw, method, data, octets, allow_legacy=legacy)
        return PeerProof(signed, str(raw))
    signature = (method, data, octets)
    return _verify_certificate(sa, config, message, signature, now)


def _identity(message: Message) -> Identity:
    if message.is_response:
        return message.one(IdResponder)
    return message.one(IdInitiator)


_SHARED_KEY, _SIGNATURE = "pre-shared key", "certificate or raw key"
_SIGNATURES = frozenset(AuthMethod) - {AuthMethod.PSK, AuthMethod.NULL}


def _other_method(ours: str, theirs: str) -> NotTrusted:
    return NotTrusted(
        "auth_method_mismatch",
        f"the peer authenticates by a {theirs}, and we by a {ours}",
        ours,
        theirs,
        "set the same kind of authentication at both ends",
    )


def _given(message: Message, encoding: int) -> list[bytes]:
    return [one.value for one in message.all(Certificate) if one.encoding == encoding]


def _raw_key(credentials: Credentials, message: Message, has_certificate: bool) -> PublicKey | None:
    """Return the raw key that the peer has to have; None if a certificate decides."""
    if not credentials.peer_keys or (has_certificate and credentials.anchors):
        return None
    given = _given(message, CertEncoding.RAW_PUBLIC_KEY)
    if not given:
        return credentials.peer_keys[0]
    for key in credentials.peer_keys:
        if key.spki == given[0]:
            return key
    raise NotTrusted(
        "certificate_untrusted",
        "the peer's public key is not the one that is configured",
        ", ".join(str(one) for one in credentials.peer_keys),
        _key_text(given[0]),
        "give remote_public_key the peer's present key",
    )


def _key_text(spki: bytes) -> str:
    try:
        return str(PublicKey.parse(spki))
    except BadText:
        return f"{len(spki)} bytes that are no key"


def _verify_certificate(
    sa: IkeSa,
    config: TunnelConfig,
    message: Message,
    signature: tuple[int, bytes, bytes],
    now: float,
) -> PeerProof:
    credentials = config.credentials
    assert credentials is not None
    at = now + sa.context.wall_offset
    legacy = credentials.allow_legacy
    given = _given(message, CertEncoding.X509_SIGNATURE)
    way = chain.find_way(given, credentials.anchors, at, allow_legacy=legacy)
    peer = way[0]
    signed = signatures.verify(peer.key, *signature, allow_legacy=legacy)
    identity = _identity(message)
    if not names.bears(peer, identity.id_type, identity.value):
        raise NotTrusted(
            "identity_mismatch",
            f"the peer is {describe_identity(identity.id_type, identity.value)} by its own words"
            " and not by its certificate",
            f"remote_id {config.remote_id or 'any'}",
            f"certificate of {names.identities_of(peer)}",
            "the peer's identity must be the subject, or a subjectAltName of the same type",
        )
    try:
        _judge_revocation(sa, config, message, way, now)
    except NotTrusted as error:
        error.revoked = peer.fingerprint if error.code == "certificate_revoked" else ""
        raise
    return PeerProof(signed, peer.name, min(one.ends_at for one in way), peer.fingerprint)


def _judge_revocation(
    sa: IkeSa,
    config: TunnelConfig,
    message: Message,
    way: tuple[certificate.Certificate, ...],
    now: float,
) -> None:
    context, credentials = sa.context, config.credentials
    assert credentials is not None
    if credentials.revocation is Mode.OFF:
        return
    policy = revocation.Policy(
        credentials.revocation,
        now + context.wall_offset,
        credentials.is_private_allowed,
        tuple(_given(message, CertEncoding.OCSP)[:HELD_MAX]),
    )
    questions = revocation.judge(way, policy, lambda asked: context.revocation.look(asked, now))
    if questions:
        raise Undecided(config.name, questions)
