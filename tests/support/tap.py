"""
Who listens to a whole conversation and knows the private values: keys and AUTH once more, from the
text of RFC 7296, 8784, 9242 and 9370 alone. Uses nothing of `gateway`.

It knows one suite, aes256gcm16-prfsha384, with x25519 and ML-KEM, and pre-shared keys.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SA, KE, ID_I, ID_R, AUTH, NONCE, NOTIFY, SK, SKF = 33, 34, 35, 36, 39, 40, 41, 46, 53
INIT, IKE_AUTH, CREATE, INTERMEDIATE, FOLLOWUP = 34, 35, 36, 43, 44
PPK_IDENTITY, NO_PPK_AUTH, ADDITIONAL_KEY_EXCHANGE = 16436, 16437, 16441

Chain = list[tuple[int, bytes]]


def prf(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha384")


def prf_plus(key: bytes, seed: bytes, length: int) -> bytes:
    out = block = b""
    at = 1
    while len(out) < length:
        block = prf(key, block + seed + bytes([at]))
        out += block
        at += 1
    return out[:length]


def chain(first: int, data: bytes) -> Chain:
    """Return type and body of each payload."""
    found = []
    while first:
        length = int.from_bytes(data[2:4], "big")
        found.append((first, data[4:length]))
        first, data = data[0], data[length:]
    return found


def body(payloads: Chain, kind: int) -> bytes:
    return next(body for one, body in payloads if one == kind)


def notify(payloads: Chain, kind: int) -> bytes | None:
    """Return the data of a notify without SPI, None if it is not there."""
    bodies = (body for one, body in payloads if one == NOTIFY)
    return next((one[4:] for one in bodies if int.from_bytes(one[2:4], "big") == kind), None)


def public_of(method: int, private: bytes) -> bytes:
    if method == 31:
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return _kem(method, private).public_key().public_bytes_raw()


def shared_of(method: int, private: bytes, other: bytes) -> bytes:
    if method == 31:
        key = X25519PrivateKey.from_private_bytes(private)
        return key.exchange(X25519PublicKey.from_public_bytes(other))
    return _kem(method, private).decapsulate(other)


def _kem(method: int, seed: bytes) -> mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey:
    if method == 36:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)
    assert method == 37
    return mlkem.MLKEM1024PrivateKey.from_seed_bytes(seed)


@dataclass
class Keys:
    """SK_d | SK_ei | SK_er | SK_pi | SK_pr: an AEAD has no SK_a."""

    d: bytes
    ei: bytes
    er: bytes
    pi: bytes
    pr: bytes

    @classmethod
    def of(cls, skeyseed: bytes, ni: bytes, nr: bytes, spis: bytes) -> Keys:
        stream = prf_plus(skeyseed, ni + nr + spis, 3 * 48 + 2 * 36)
        cuts = [0, 48, 84, 120, 168, 216]
        return cls(*(stream[a:b] for a, b in pairwise(cuts)))


@dataclass
class IkeSa:
    """One IKE SA as the listener knows it."""

    spis: bytes
    keys: Keys
    ni: bytes = b""
    nr: bytes = b""
    init: list[bytes] = field(default_factory=list)  # both messages of IKE_SA_INIT
    auth_i: bytes = b""
    auth_r: bytes = b""
    id_i: bytes = b""
    asked: dict[int, tuple[Chain, bytes]] = field(default_factory=dict)  # by message ID and side
    pieces: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    done: set[bytes] = field(default_factory=set)
    created: dict[int, tuple[Chain, Chain, list[bytes]]] = field(default_factory=dict)


@dataclass
class Tap:
    """Feed it every datagram, in the order of sending."""

    psk: bytes
    privates: list[tuple[int, bytes]]
    ppk: bytes = b""
    sas: dict[bytes, IkeSa] = field(default_factory=dict)
    child_keys: dict[int, bytes] = field(default_factory=dict)  # by inbound SPI of the receiver
    verified: list[str] = field(default_factory=list)  # whose AUTH was right
    exchanges: list[int] = field(default_factory=list)  # sealed messages, as they became whole
    _open: tuple[bytes, Chain] = (b"", [])

    def feed(self, datagram: bytes) -> None:
        if datagram[18] == INIT:
            self._init(datagram)
        elif (sa := self.sas.get(datagram[:16])) is not None:
            self._sealed(sa, datagram)

    def _init(self, datagram: bytes) -> None:
        payloads = chain(datagram[16], datagram[28:])
        if not datagram[19] & 0x20:
            self._open = (datagram, payloads)
            return
        asked, request = self._open
        if SA not in dict(payloads) or datagram[:16] in self.sas:
            return
        ni, nr, spis = body(request, NONCE), body(payloads, NONCE), datagram[:16]
        shared = self._shared(body(request, KE), body(payloads, KE))
        keys = Keys.of(prf(ni + nr, shared), ni, nr, spis)
        self.sas[spis] = IkeSa(spis, keys, ni, nr, [asked, datagram])

    def _shared(self, ours: bytes, theirs: bytes) -> bytes:
        """Return the secret of two KE payloads; the first is of who began."""
        method = int.from_bytes(ours[:2], "big")
        fitting = (one for kind, one in self.privates if kind == method)
        private = next(one for one in fitting if public_of(method, one) == ours[4:])
        return shared_of(method, private, theirs[4:])

    def _sealed(self, sa: IkeSa, datagram: bytes) -> None:
        from_i, is_response = bool(datagram[19] & 8), bool(datagram[19] & 0x20)
        key = sa.keys.ei if from_i else sa.keys.er
        number = datagram[18:24]
        if number in sa.done:
            return
        at = 36 if datagram[16] == SKF else 32
        where = AESGCM(key[:32])
        plain = where.decrypt(key[32:] + datagram[at : at + 8], datagram[at + 8 :], datagram[:at])
        content = plain[: -1 - plain[-1]]
        piece, total, first = 1, 1, datagram[28]
        if datagram[16] == SKF:
            piece, total = (int.from_bytes(datagram[a : a + 2], "big") for a in (32, 34))
        sa.pieces[number, piece] = bytes([first]) * (piece == 1) + content
        have = [sa.pieces.get((number, one)) for one in range(1, total + 1)]
        if any(one is None for one in have):
            return
        sa.done.add(number)
        whole = b"".join(one for one in have if one is not None)
        self.exchanges.append(datagram[18])
        self._message(sa, datagram, whole[0], whole[1:], is_response)

    def _message(
        self, sa: IkeSa, datagram: bytes, first: int, content: bytes, is_response: bool
    ) -> None:
        # RFC 9242 section 3.3.2: as if it were whole, and sealed by nothing.
        length = (32 + len(content)).to_bytes(4, "big")
        head = datagram[:16] + bytes([SK]) + datagram[17:24] + length
        octets = head + bytes([first, 0]) + (4 + len(content)).to_bytes(2, "big") + content
        # Message IDs are each end's own, so the flag of the initiator tells two requests apart.
        number = int.from_bytes(datagram[20:24], "big") * 2
        number += bool(datagram[19] & 8) is not is_response
        payloads = chain(first, content)
        if not is_response:
            sa.asked[number] = (payloads, octets)
            return
        request, asked = sa.asked[number]
        match datagram[18]:
            case 43:
                self._intermediate(sa, (request, asked), (payloads, octets))
            case 35:
                self._auth(sa, number // 2, request, payloads)
            case 36 if SA in dict(payloads):
                kes = [self._shared(body(request, KE), body(payloads, KE))]
                self._create(sa, number % 2, request, payloads, kes, payloads)
            case 44 if KE in dict(payloads):
                first_request, answer, secrets = sa.created.pop(number % 2)
                secrets.append(self._shared(body(request, KE), body(payloads, KE)))
                self._create(sa, number % 2, first_request, answer, secrets, payloads)
            case _:
                pass

    def _intermediate(
        self, sa: IkeSa, request: tuple[Chain, bytes], response: tuple[Chain, bytes]
    ) -> None:
        sa.auth_i = prf(sa.keys.pi, sa.auth_i + request[1])
        sa.auth_r = prf(sa.keys.pr, sa.auth_r + response[1])
        shared = self._shared(body(request[0], KE), body(response[0], KE))
        skeyseed = prf(sa.keys.d, shared + sa.ni + sa.nr)
        sa.keys = Keys.of(skeyseed, sa.ni, sa.nr, sa.spis)

    def _auth(self, sa: IkeSa, number: int, request: Chain, response: Chain) -> None:
        int_auth = b""
        if sa.auth_i:
            int_auth = sa.auth_i + sa.auth_r + number.to_bytes(4, "big")
        pi, pr = sa.keys.pi, sa.keys.pr
        if notify(response, PPK_IDENTITY) is not None:
            pi, pr = prf_plus(self.ppk, pi, 48), prf_plus(self.ppk, pr, 48)
            sa.keys.d = prf_plus(self.ppk, sa.keys.d, 48)
            self.verified.append("ppk")
        key = prf(self.psk, b"Key Pad for IKEv2")
        octets = sa.init[0] + sa.nr + prf(pi, body(request, ID_I)) + int_auth
        given = body(request, AUTH)[4:]
        if pi == sa.keys.pi and notify(request, PPK_IDENTITY) is not None:
            given = notify(request, NO_PPK_AUTH) or b""
        assert given == prf(key, octets), "the initiator's AUTH"
        octets = sa.init[1] + sa.ni + prf(pr, body(response, ID_R)) + int_auth
        assert body(response, AUTH)[4:] == prf(key, octets), "the responder's AUTH"
        self.verified.append("auth")
        self._child(sa, request, response, sa.ni, sa.nr, [])

    def _create(
        self,
        sa: IkeSa,
        side: int,
        request: Chain,
        answer: Chain,
        secrets: list[bytes],
        last: Chain,
    ) -> None:
        if notify(last, ADDITIONAL_KEY_EXCHANGE) is not None:
            sa.created[side] = (request, answer, secrets)
            return
        ni, nr = body(request, NONCE), body(answer, NONCE)
        if body(answer, SA)[5] == 1:
            spis = body(request, SA)[8:16] + body(answer, SA)[8:16]
            skeyseed = prf(sa.keys.d, secrets[0] + ni + nr + b"".join(secrets[1:]))
            self.sas[spis] = IkeSa(spis, Keys.of(skeyseed, ni, nr, spis))
        else:
            self._child(sa, request, answer, ni, nr, secrets)

    def _child(
        self, sa: IkeSa, request: Chain, answer: Chain, ni: bytes, nr: bytes, secrets: list[bytes]
    ) -> None:
        seed = b"".join(secrets[:1]) + ni + nr + b"".join(secrets[1:])
        keymat = prf_plus(sa.keys.d, seed, 72)
        spi_i, spi_r = (int.from_bytes(body(one, SA)[8:12], "big") for one in (request, answer))
        self.child_keys[spi_r] = keymat[:36]  # what the initiator sends on
        self.child_keys[spi_i] = keymat[36:]
