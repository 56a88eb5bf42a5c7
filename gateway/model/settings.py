"""What may stand on a VPN Connection for all its tunnels, and on a VPN Tunnel for that one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StrictBool,
    StrictInt,
    StrictStr,
)

from gateway.ike.config import Encap, Start
from gateway.model.types import (
    BfdText,
    BgpPassword,
    EspProposalText,
    IdentityText,
    IkeProposalText,
    InnerAddress,
    PeerIdentityText,
    PemText,
    ProbeText,
    Seconds,
    SelectorText,
)
from gateway.pki.question import Mode

SELECTORS_MAX = 32  # GW_SELECTORS_MAX of the data plane, for one side of an SA
WORKERS_MAX = 16  # GW_WORKERS_MAX
CHILD_SAS_MAX = 32  # GW_OUTBOUND_MAX: Child SAs in use of one tunnel

PEM: dict[str, JsonValue] = {"contentMediaType": "application/x-pem-file"}  # several lines
CONFIG = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _zero_or_at_least(least: int, zero: str = "no limit") -> AfterValidator:
    def judge(value: float) -> float:
        if 0 < value < least:
            raise ValueError(f"must be 0 ({zero}) or at least {least}")
        return value

    return AfterValidator(judge)


class BgpSettings(BaseModel):
    """What may be said of a BGP session: of a tunnel's, a direct line's, a VPC router's."""

    model_config = CONFIG

    bfd: BfdText = Field(
        default="300x3",
        description="with bgp: BFD every so many ms, down when so many are missing; or off",
    )
    bgp_hold_s: Annotated[StrictInt, Field(ge=3, le=65535)] = Field(
        default=30, description="with bgp: hold time in seconds"
    )
    bgp_keepalive_s: Annotated[StrictInt, Field(ge=1, le=65535)] | None = Field(
        default=None, description="with bgp: seconds between keepalives; without it, hold time / 3"
    )
    bgp_prefix_limit: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = Field(
        default=300, description="with bgp: routes taken from the peer; more are left out"
    )
    bgp_prepend: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        default=0, description="with bgp: how often our AS number is put before what we announce"
    )
    bgp_password: BgpPassword | None = Field(
        default=None, description="with bgp: password of the session, for what bgp_auth says"
    )
    bgp_auth: Literal["md5", "ao-hmac-sha1", "ao-hmac-sha256", "ao-cmac-aes128"] = Field(
        default="md5",
        description="with bgp_password: TCP MD5 (RFC 2385), or TCP-AO (RFC 5925) by that algorithm,"
        " which needs BIRD 2.17 or later and a kernel with TCP_AO",
    )
    bgp_key_id: Annotated[StrictInt, Field(ge=0, le=255)] = Field(
        default=0, description="with TCP-AO: the number of the key, the same at both ends"
    )


class AuthSettings(BaseModel):
    """How the two ends prove their identities, other than by a pre-shared key."""

    model_config = CONFIG

    auth: Literal["psk", "certificate", "raw-key"] = Field(
        default="psk",
        description="how the two ends prove their identities: a pre-shared key, X.509 certificates,"
        " or public keys that each knows of the other",
    )
    certificate: PemText | None = Field(
        default=None,
        json_schema_extra=PEM,
        description="with certificate: ours in PEM, then those between it and a root that the peer"
        " trusts",
    )
    certificate_file: StrictStr | None = Field(
        default=None, description="file with our certificate and those above it, in PEM"
    )
    private_key: SecretStr | None = Field(
        default=None,
        json_schema_extra=PEM,
        description="with certificate or raw-key: our private key in PEM, RSA, ECDSA or Ed25519,"
        " without a passphrase",
    )
    private_key_file: StrictStr | None = Field(
        default=None, description="file with our private key, in PEM"
    )
    ca: PemText | None = Field(
        default=None,
        json_schema_extra=PEM,
        description="with certificate: the certificates, in PEM, of the authorities whose"
        " certificates we believe of the peer",
    )
    ca_file: StrictStr | None = Field(
        default=None, description="file with the certificates of those authorities, in PEM"
    )
    remote_public_key: PemText | None = Field(
        default=None,
        json_schema_extra=PEM,
        description="with raw-key: the peer's public key in PEM",
    )
    remote_public_key_file: StrictStr | None = Field(
        default=None, description="file with the peer's public key, in PEM"
    )
    revocation: Mode = Field(
        default=Mode.RELAXED,
        description="whether the peer's certificate has been revoked, by OCSP and CRL: strict needs"
        " an answer, relaxed refuses what is known to be revoked, off does not ask",
    )
    revocation_private: StrictBool = Field(
        default=False,
        description="CRLs and OCSP servers that a certificate names may have private addresses",
    )
    rsa_pss: StrictBool = Field(
        default=False, description="sign by RSA-PSS with an RSA key; the peer's are taken both ways"
    )


class TunnelSettings(BgpSettings, AuthSettings):
    """What may stand on a VPN Connection for all its tunnels, and on a VPN Tunnel for that one."""

    psk: SecretStr | None = Field(
        default=None, description="pre-shared key: text, or 0x and hexadecimal, or 0s and base64"
    )
    psk_file: StrictStr | None = Field(
        default=None, description="file whose first line is the pre-shared key"
    )
    allow_weak_psk: StrictBool = Field(
        default=False, description="accept a pre-shared key of less than 20 characters or 16 bytes"
    )
    ppk: SecretStr | None = Field(
        default=None,
        description="post-quantum pre-shared key (RFC 8784) beside psk: 32 bytes or more, as psk",
    )
    ppk_id: IdentityText | None = Field(
        default=None, description="with ppk: its name, the same at both ends"
    )
    ppk_required: StrictBool = Field(
        default=True, description="with ppk: no IKE SA with a peer that does not use it"
    )
    local_id: IdentityText | None = Field(
        default=None,
        description="our identity in IKE; without it, the tunnel's local address, or the subject of"
        " our certificate",
    )
    remote_id: PeerIdentityText | None = Field(
        default=None,
        description='the peer\'s identity in IKE; "any" takes every identity that knows the key or'
        " that its certificate bears; without it, the customer gateway's identity",
    )
    ike_proposals: tuple[IkeProposalText, ...] = Field(
        default=(),
        description="IKE proposals in order, as in aes256gcm16-prfsha384-x25519; none: our list",
    )
    esp_proposals: tuple[EspProposalText, ...] = Field(
        default=(),
        description="ESP proposals in order; a group in one asks for PFS; none: our list",
    )
    allow_legacy: StrictBool = Field(
        default=False,
        description="allow algorithms that RFC 8247 and RFC 8221 advise against; of"
        " certificates SHA-1, AUTH method 1 and RSA keys from 1024 bits",
    )
    ike_lifetime_s: Annotated[Seconds, Field(ge=60, le=604800)] = Field(
        default=14400.0, description="seconds until an IKE SA is rekeyed"
    )
    child_lifetime_s: Annotated[Seconds, Field(ge=30, le=604800)] = Field(
        default=3600.0, description="seconds until a Child SA is rekeyed; less than ike_lifetime_s"
    )
    child_lifetime_bytes: Annotated[StrictInt, Field(ge=0, le=2**62), _zero_or_at_least(2**20)] = (
        Field(0, description="bytes in one direction until a Child SA is rekeyed; 0 is no limit")
    )
    child_lifetime_packets: Annotated[StrictInt, Field(ge=0, le=2**62), _zero_or_at_least(1000)] = (
        Field(0, description="packets in one direction until a Child SA is rekeyed; 0 is no limit")
    )
    liveness_s: Annotated[Seconds, Field(ge=0, le=3600)] = Field(
        default=10.0,
        description="seconds of silence until the peer is asked whether it lives; 0 is never",
    )
    liveness_timeout_s: Annotated[Seconds, Field(ge=0.5, le=600)] = Field(
        default=6.5, description="seconds without an answer to that until the tunnel counts as down"
    )
    encap: Encap = Field(
        default=Encap.PREFER,
        description="ESP in UDP: prefer it always, auto only through a NAT, never (IP protocol 50)",
    )
    start: Start | None = Field(
        default=None,
        description="who begins: initiate or respond; without it we do, unless the customer's"
        ' addresses are "any"',
    )
    replay_window: Annotated[StrictInt, Field(ge=64, le=4096)] = Field(
        default=1024, description="anti-replay window in packets; holds for SAs made after a change"
    )
    rate_mbps: Annotated[StrictInt, Field(ge=0, le=400_000)] = Field(
        default=0, description="cap on outbound inner traffic in Mbit/s; 0 is none"
    )
    mtu: Annotated[StrictInt, Field(ge=576, le=9200)] | None = Field(
        default=None, description="MTU inside in bytes; without it, computed from suite and path"
    )
    copy_dscp: StrictBool = Field(
        default=True, description="copy the DSCP of inner packets to the outer header"
    )
    workers: Annotated[StrictInt, Field(ge=1, le=WORKERS_MAX)] = Field(
        default=1, description="workers that carry this tunnel, each with queues of its own"
    )
    per_resource_sas: StrictBool = Field(
        default=False,
        description="a Child SA for each worker beside the first, where the peer takes them"
        " (RFC 9611); needs workers of 2 or more",
    )
    admin: Literal["up", "down"] = Field(
        default="up", description="whether the tunnel is allowed to run"
    )
    childless: StrictBool = Field(
        default=False,
        description="make the first Child SA after IKE_AUTH, with a key exchange of its own, where"
        " the peer can (RFC 6023)",
    )
    allow_redirect: StrictBool = Field(
        default=False,
        description="go where the peer sends us, to another gateway's address, as initiator"
        " (RFC 5685); it must prove the same identity",
    )
    fragment_size: Annotated[StrictInt, Field(ge=576, le=9200)] = Field(
        default=1280, description="largest IKE datagram with its IP and UDP headers, in bytes"
    )
    local_ts: tuple[SelectorText, ...] = Field(
        default=(), description="our traffic selectors, as in 10.0.0.0/8[tcp/443]; none: by routing"
    )
    remote_ts: tuple[SelectorText, ...] = Field(
        default=(), description="the peer's traffic selectors; none: by routing"
    )
    probe: ProbeText = Field(
        default="off",
        description="with static and policy: an echo request through the tunnel every so many ms,"
        " its routes leave when so many answers in a row are missing; or off",
    )
    probe_address: InnerAddress | None = Field(
        default=None,
        description="who answers the probes: a host in remote_cidrs; without it, the peer's inner"
        " address",
    )
    measure_s: Annotated[Seconds, Field(ge=0, le=30), _zero_or_at_least(1, "off")] = Field(
        default=5.0,
        description="seconds between two echo requests that measure round trip and loss, to the"
        " peer's inner address through the tunnel and to its public one outside; 0 is off",
    )
