"""
Names of algorithms as strongSwan and its users write them: "aes256gcm16-prfsha384-x25519".

`TOKENS` are what a configuration may say. The longer list of numbers is only for showing what a
peer offered, old algorithms included.
"""

from __future__ import annotations

from gateway.ike.iana import ADDITIONAL, Group, Prf, TransformType
from gateway.sa import Encr, Integ

Key = tuple[int, int, int | None]  # transform type, number, key length in bits

_ENCR = TransformType.ENCR
_PRF = TransformType.PRF
_INTEG = TransformType.INTEG
_DH = TransformType.DH
_ESN = TransformType.ESN

TOKENS: dict[str, Key] = {
    "aes256gcm16": (_ENCR, Encr.AES_GCM_16, 256),
    "aes128gcm16": (_ENCR, Encr.AES_GCM_16, 128),
    "aes192gcm16": (_ENCR, Encr.AES_GCM_16, 192),
    "chacha20poly1305": (_ENCR, Encr.CHACHA20_POLY1305, None),
    "aes256": (_ENCR, Encr.AES_CBC, 256),
    "aes192": (_ENCR, Encr.AES_CBC, 192),
    "aes128": (_ENCR, Encr.AES_CBC, 128),
    "sha256": (_INTEG, Integ.HMAC_SHA2_256_128, None),
    "sha384": (_INTEG, Integ.HMAC_SHA2_384_192, None),
    "sha512": (_INTEG, Integ.HMAC_SHA2_512_256, None),
    "prfsha256": (_PRF, Prf.HMAC_SHA2_256, None),
    "prfsha384": (_PRF, Prf.HMAC_SHA2_384, None),
    "prfsha512": (_PRF, Prf.HMAC_SHA2_512, None),
    "x25519": (_DH, Group.X25519, None),
    "ecp256": (_DH, Group.ECP256, None),
    "ecp384": (_DH, Group.ECP384, None),
    "ecp521": (_DH, Group.ECP521, None),
    "modp2048": (_DH, Group.MODP2048, None),
    "modp3072": (_DH, Group.MODP3072, None),
    "modp4096": (_DH, Group.MODP4096, None),
    "modp6144": (_DH, Group.MODP6144, None),
    "modp8192": (_DH, Group.MODP8192, None),
    "esn": (_ESN, 1, None),
    "noesn": (_ESN, 0, None),
}
# Additional key exchanges (RFC 9370), as in "ke1_mlkem768"; ML-KEM stands nowhere else, since its
# values do not fit in IKE_SA_INIT, which can not be fragmented.
_METHODS = {name: number for name, (kind, number, _) in TOKENS.items() if kind == _DH}
_METHODS |= {"mlkem768": Group.MLKEM768, "mlkem1024": Group.MLKEM1024, "none": 0}
TOKENS |= {
    f"ke{at}_{name}": (kind, number, None)
    for at, kind in enumerate(ADDITIONAL, 1)
    for name, number in _METHODS.items()
}
ALIASES = {"curve25519": "x25519", "aes256gcm128": "aes256gcm16", "aes128gcm128": "aes128gcm16"}

# The PRF that stands for an integrity algorithm where a text names none.
PRF_OF_INTEG: dict[int, Prf] = {
    Integ.HMAC_SHA2_256_128: Prf.HMAC_SHA2_256,
    Integ.HMAC_SHA2_384_192: Prf.HMAC_SHA2_384,
    Integ.HMAC_SHA2_512_256: Prf.HMAC_SHA2_512,
}

_NAMES: dict[Key, str] = {key: name for name, key in TOKENS.items()}
_WITH_KEY_BITS: dict[int, str] = {
    13: "aes{}ctr",
    14: "aes{}ccm8",
    15: "aes{}ccm12",
    16: "aes{}ccm16",
}
_WITH_KEY_BITS |= {18: "aes{}gcm8", 19: "aes{}gcm12", 21: "aes{}gmac", 23: "camellia{}"}
_OLD: dict[Key, str] = {
    (_ENCR, 2, None): "des",
    (_ENCR, 3, None): "3des",
    (_ENCR, 11, None): "null",
    (_ENCR, Encr.CHACHA20_POLY1305, 256): "chacha20poly1305",
    (_PRF, 1, None): "prfmd5",
    (_PRF, 2, None): "prfsha1",
    (_PRF, 4, None): "prfaesxcbc",
    (_PRF, 8, None): "prfaescmac",
    (_INTEG, 0, None): "nointeg",
    (_INTEG, 1, None): "md5",
    (_INTEG, 2, None): "sha1",
    (_INTEG, 5, None): "aesxcbc",
    (_INTEG, 8, None): "aescmac",
    (_DH, 0, None): "modpnone",
    (_DH, 1, None): "modp768",
    (_DH, 2, None): "modp1024",
    (_DH, 5, None): "modp1536",
    (_DH, 22, None): "modp1024s160",
    (_DH, 23, None): "modp2048s224",
    (_DH, 24, None): "modp2048s256",
    (_DH, 25, None): "ecp192",
    (_DH, 26, None): "ecp224",
    (_DH, 27, None): "ecp224bp",
    (_DH, 28, None): "ecp256bp",
    (_DH, 29, None): "ecp384bp",
    (_DH, 30, None): "ecp512bp",
    (_DH, 32, None): "x448",
    (_DH, 35, None): "mlkem512",
    (_DH, 36, None): "mlkem768",
    (_DH, 37, None): "mlkem1024",
}
_KINDS = {_ENCR: "encr", _PRF: "prf", _INTEG: "integ", _DH: "group", _ESN: "esn"}


def transform_name(kind: int, number: int, key_bits: int | None) -> str:
    """Return the name of a transform; "encr99/40" where there is none."""
    key = (kind, number, key_bits)
    known = _NAMES.get(key) or _OLD.get(key)
    if known is not None:
        return known
    if kind == _ENCR and key_bits and number in _WITH_KEY_BITS:
        return _WITH_KEY_BITS[number].format(key_bits)
    if kind in ADDITIONAL:
        return f"ke{kind - ADDITIONAL.start + 1}_" + transform_name(_DH, number, key_bits)
    try:
        prefix = _KINDS[TransformType(kind)]
    except ValueError:
        prefix = f"transform{kind}/"
    return f"{prefix}{number}" + ("" if key_bits is None else f"/{key_bits}")


def group_name(group: int) -> str:
    """Return the name of a DH group: "ecp384"; "group99" where there is none."""
    return transform_name(_DH, group, None)
