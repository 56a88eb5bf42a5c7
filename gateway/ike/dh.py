"""
Key exchange: X25519 (RFC 8031), ECP groups (RFC 5903), MODP groups (RFC 3526), and ML-KEM (FIPS
203, draft-ietf-ipsecme-ikev2-mlkem).

The initiator makes a `KeyPair` and finishes with the responder's value; the responder has both
values at once, from `answer`. For Diffie-Hellman the two ends do the same; with ML-KEM the
responder's value is a ciphertext that holds the secret.

`KeyPair.shared` makes the checks of RFC 6989 on the peer's value: right length, on the curve, not
0, 1, p-1 or above, and no X25519 value that gives an all-zero secret. `check` makes them alone, for
who computes the secret later. MODP runs in libcrypto through the native module, since
`cryptography` is giving finite fields up.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import UsageError, WireError
from gateway.ike.iana import Group
from gateway.secret import Secret

_CURVES: dict[int, ec.EllipticCurve] = {
    Group.ECP256: ec.SECP256R1(),
    Group.ECP384: ec.SECP384R1(),
    Group.ECP521: ec.SECP521R1(),
}
_MODP_LENS: dict[int, int] = {
    Group.MODP2048: 256,
    Group.MODP3072: 384,
    Group.MODP4096: 512,
    Group.MODP6144: 768,
    Group.MODP8192: 1024,
}
_X25519_LEN = 32
_X25519_PRIME = 2**255 - 19
# The coordinates of the points of order 1, 2, 4 and 8, of the curve and of its twist: 0, 1, -1, and
# the two of order 8. RFC 7748 section 5 takes values without the topmost bit, and modulo the prime.
_X25519_LOW_ORDER = frozenset(
    {
        0,
        1,
        _X25519_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
_KEM_PRIVATE: dict[int, type[MLKEM768PrivateKey | MLKEM1024PrivateKey]] = {
    Group.MLKEM768: MLKEM768PrivateKey,
    Group.MLKEM1024: MLKEM1024PrivateKey,
}
_KEM_PUBLIC: dict[int, type[MLKEM768PublicKey | MLKEM1024PublicKey]] = {
    Group.MLKEM768: MLKEM768PublicKey,
    Group.MLKEM1024: MLKEM1024PublicKey,
}
_KEM_LENS = {Group.MLKEM768: (1184, 1088), Group.MLKEM1024: (1568, 1568)}  # key, ciphertext


def supported_groups() -> frozenset[int]:
    """Return the groups that `KeyPair.generate` takes."""
    return frozenset({int(Group.X25519), *_CURVES, *_MODP_LENS, *_KEM_LENS})


def public_len(group: int) -> int:
    """Return the length in bytes of an initiator's public value. Raises UsageError."""
    if group == Group.X25519:
        return _X25519_LEN
    if group in _CURVES:
        return 2 * _coordinate_len(_CURVES[group])
    if group in _MODP_LENS:
        return _MODP_LENS[group]
    if group in _KEM_LENS:
        return _KEM_LENS[Group(group)][0]
    raise UsageError(f"unsupported group {group}")


def answer(group: int, peer: bytes, private: bytes | None = None) -> tuple[bytes, Secret]:
    """
    Return our public value as the responder, and the shared secret with the initiator's value.

    Raises WireError as `KeyPair.shared`. ML-KEM takes no `private`: its randomness is its own.
    """
    if group not in _KEM_PUBLIC:
        key_pair = KeyPair.generate(group, private)
        return key_pair.public, key_pair.shared(peer)
    try:
        key = _KEM_PUBLIC[group].from_public_bytes(peer)
    except ValueError:
        raise WireError(f"KE: {len(peer)} bytes are no ML-KEM key of group {group}") from None
    shared, ciphertext = key.encapsulate()
    return ciphertext, Secret(shared)


def check(group: int, peer: bytes) -> None:
    """
    Refuse what `KeyPair.shared` refuses of a Diffie-Hellman group, without computing a secret.

    Raises WireError, and UsageError for a group that is not supported.
    """
    _check_len(group, peer, public_len(group))
    if group == Group.X25519:
        number = int.from_bytes(peer, "little") % 2**255
        if number % _X25519_PRIME in _X25519_LOW_ORDER:
            raise _low_order()
    elif group in _CURVES:
        _point(_CURVES[group], peer)
    else:
        from gateway._native import lib

        _check_modp(lib.gw_modp_check(group, peer, len(peer)))


class KeyPair:
    """Our side of one key exchange. Used for one exchange and then dropped."""

    __slots__ = ("_key", "group", "public")

    def __init__(self, group: int, key: _PrivateKey, public: bytes) -> None:
        self.group = group
        self.public = public
        self._key = key

    @classmethod
    def generate(cls, group: int, private: bytes | None = None) -> KeyPair:
        """
        Return a fresh key pair. Raises UsageError for a group that is not supported.

        `private` makes it the key pair that had this `private()`: big-endian, for X25519 its 32
        bytes, for ML-KEM the seed of 64.
        """
        if group == Group.X25519:
            key: _PrivateKey = _X25519Key(private)
        elif group in _CURVES:
            key = _EcpKey(_CURVES[group], private)
        elif group in _MODP_LENS:
            key = _ModpKey(group, private)
        elif group in _KEM_PRIVATE:
            key = _KemKey(group, private)
        else:
            raise UsageError(f"unsupported group {group}")
        return cls(group, key, key.public())

    def private(self) -> Secret:
        """Return what `generate` makes this key pair of, for who goes on with its exchange."""
        return Secret(self._key.private())

    def shared(self, peer: bytes) -> Secret:
        """
        Return g^ir, of the group's full length, or what a ciphertext holds. Raises WireError if RFC
        6989 refuses `peer`.
        """
        lens = _KEM_LENS.get(Group(self.group))
        _check_len(self.group, peer, lens[1] if lens else public_len(self.group))
        return Secret(self._key.shared(peer))


class _X25519Key:
    __slots__ = ("_key",)

    def __init__(self, private: bytes | None) -> None:
        if private is None:
            self._key = X25519PrivateKey.generate()
        else:
            self._key = X25519PrivateKey.from_private_bytes(private)

    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def private(self) -> bytes:
        return self._key.private_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError:
            raise _low_order() from None


class _EcpKey:
    """Values are x | y without a format byte; the secret is x (RFC 5903 section 7)."""

    __slots__ = ("_curve", "_key")

    def __init__(self, curve: ec.EllipticCurve, private: bytes | None) -> None:
        self._curve = curve
        if private is None:
            self._key = ec.generate_private_key(curve)
        else:
            self._key = ec.derive_private_key(int.from_bytes(private, "big"), curve)

    def public(self) -> bytes:
        key = self._key.public_key()
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    def private(self) -> bytes:
        value = self._key.private_numbers().private_value
        return value.to_bytes(_coordinate_len(self._curve), "big")

    def shared(self, peer: bytes) -> bytes:
        return self._key.exchange(ec.ECDH(), _point(self._curve, peer))


class _KemKey:
    """
    A wrong ciphertext gives a secret that the peer does not have (FIPS 203 section 6.3): AUTH, or
    the first packet, shows it.
    """

    __slots__ = ("_key",)

    def __init__(self, group: int, seed: bytes | None) -> None:
        kind = _KEM_PRIVATE[group]
        self._key = kind.generate() if seed is None else kind.from_seed_bytes(seed)

    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def private(self) -> bytes:
        return self._key.private_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        return self._key.decapsulate(peer)


def _coordinate_len(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _check_len(group: int, peer: bytes, needed: int) -> None:
    if len(peer) != needed:
        raise WireError(f"KE: {len(peer)} bytes for group {group}, need {needed}")


def _low_order() -> WireError:
    return WireError("KE: X25519 value of low order")


def _point(curve: ec.EllipticCurve, peer: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + peer)
    except ValueError:
        raise WireError(f"KE: point is not on {curve.name}") from None


def _check_modp(err: int) -> None:
    from gateway._native import lib

    if err == lib.GW_E_INVALID:
        raise WireError("KE: MODP value is 0, 1, p-1 or more")
    _check(err, "MODP secret")


def _check(err: int, what: str) -> None:
    """Raise UsageError unless the native module did what it was asked."""
    from gateway._native import ffi, lib

    if err != lib.GW_OK:
        text = ffi.string(lib.gw_strerror(err))
        raise UsageError(f"{what}: {text!r}")


class _ModpKey:
    """Holds the native key, which wipes its secret when it is freed."""

    __slots__ = ("_key", "_len")

    def __init__(self, group: int, private: bytes | None) -> None:
        from gateway._native import ffi, lib

        out = ffi.new("struct gw_modp **")
        if private is None:
            err = lib.gw_modp_new(group, out)
        else:
            err = lib.gw_modp_from_private(group, private, len(private), out)
        _check(err, f"group {group}")
        self._key = ffi.gc(out[0], lib.gw_modp_free)
        self._len = _MODP_LENS[group]

    def public(self) -> bytes:
        from gateway._native import ffi, lib

        value = ffi.new("uint8_t[]", self._len)
        _check(lib.gw_modp_public(self._key, value, self._len), "MODP public value")
        return bytes(ffi.buffer(value))

    def private(self) -> bytes:
        from gateway._native import ffi, lib

        value = ffi.new("uint8_t[]", self._len)
        _check(lib.gw_modp_private(self._key, value, self._len), "MODP private value")
        secret = bytes(ffi.buffer(value))
        ffi.memmove(value, bytes(self._len), self._len)
        return secret

    def shared(self, peer: bytes) -> bytes:
        from gateway._native import ffi, lib

        value = ffi.new("uint8_t[]", self._len)
        err = lib.gw_modp_shared(self._key, peer, len(peer), value, self._len)
        secret = bytes(ffi.buffer(value))
        ffi.memmove(value, bytes(self._len), self._len)
        _check_modp(err)
        return secret


_PrivateKey = _X25519Key | _EcpKey | _ModpKey | _KemKey
