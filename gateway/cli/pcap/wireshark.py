"""
Keys in the files that Wireshark reads them from: `esp_sa` and `ikev2_decryption_table`. Pure.

The names of algorithms are those of its lists, letter by letter: another one does not decrypt, and
says nothing. A key of GCM has its salt behind it. Wireshark 4.0 takes no column for extended
sequence numbers, so with them it decrypts, but calls each ICV wrong if it is asked to check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from gateway.sa import Encr, Integ

ESP_FILE, IKE_FILE = "esp_sa", "ikev2_decryption_table"
OPTIONS = "-o esp.enable_encryption_decode:TRUE"

_ESP_ENCR = {
    Encr.AES_CBC: "AES-CBC [RFC3602]",
    Encr.AES_GCM_16: "AES-GCM with 16 octet ICV [RFC4106]",
    Encr.CHACHA20_POLY1305: "ChaCha20 with Poly1305 [RFC7634]",
}
_ESP_INTEG = {
    Integ.NONE: "NULL",
    Integ.HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
    Integ.HMAC_SHA2_384_192: "HMAC-SHA-384-192 [RFC4868]",
    Integ.HMAC_SHA2_512_256: "HMAC-SHA-512-256 [RFC4868]",
}
_IKE_INTEG = {
    Integ.NONE: "NONE [RFC4306]",
    Integ.HMAC_SHA2_256_128: "HMAC_SHA2_256_128 [RFC4868]",
    Integ.HMAC_SHA2_384_192: "HMAC_SHA2_384_192 [RFC4868]",
    Integ.HMAC_SHA2_512_256: "HMAC_SHA2_512_256 [RFC4868]",
}


def key_line(key: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the file that a key goes into, and its line; None if Wireshark has no name for it."""
    if key["kind"] == "esp":
        return ESP_FILE, _esp_line(key)
    line = _ike_line(key)
    return (IKE_FILE, line) if line else None


def _esp_line(key: Mapping[str, object]) -> str:
    encr, integ = Encr(int(str(key["encr"]))), Integ(int(str(key["integ"])))
    version = ip_address(str(key["source"])).version
    secret = str(key["integ_key"])
    parts = (
        *(f"IPv{version}", key["source"], key["destination"], key["spi"]),
        *(_ESP_ENCR[encr], f"0x{key['encr_key']}"),
        *(_ESP_INTEG[integ], f"0x{secret}" if secret else ""),
    )
    return ",".join(f'"{part}"' for part in parts)


def _ike_line(key: Mapping[str, object]) -> str:
    encr, integ = Encr(int(str(key["encr"]))), Integ(int(str(key["integ"])))
    if encr is Encr.CHACHA20_POLY1305:
        return ""
    form = "AES-GCM-{} with 16 octet ICV [RFC5282]" if encr.is_aead else "AES-CBC-{} [RFC3602]"
    spis_and_keys = ",".join(str(key[name]) for name in ("spi_i", "spi_r", "sk_ei", "sk_er"))
    macs = ",".join(str(key[name]) for name in ("sk_ai", "sk_ar"))
    return f'{spis_and_keys},"{form.format(key["key_bits"])}",{macs},"{_IKE_INTEG[integ]}"'
