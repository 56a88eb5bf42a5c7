"""What two sites are told about each other: our documents, strongSwan's connections."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lab.strongswan import Child
from lab.strongswan import Connection as SwanConnection
from lab.topology import Site
from lab.twinspan import Connection, Document, Tunnel, Value

_NO_SETTINGS: Mapping[str, Value] = {}


@dataclass(frozen=True, slots=True)
class Secrets:
    """The pre-shared keys of one lab, one a tunnel."""

    psk: tuple[str, ...] = field(
        default_factory=lambda: tuple(secrets.token_hex(32) for _ in range(2))
    )


@dataclass(frozen=True, slots=True)
class Customer:
    """Where the peer is, if not at its own address: behind a translation, or anywhere."""

    address: str | None = None
    is_anywhere: bool = False
    identity: str | None = None


def tunnel_name(number: int) -> str:
    """Return the name of tunnel 1 or 2, the same at both ends."""
    return f"office-{number}"


def document(
    here: Site,
    there: Site,
    keys: Secrets,
    *,
    outer: int = 4,
    families: tuple[int, ...] = (4,),
    settings: Mapping[str, Value] = _NO_SETTINGS,
    tunnels: int | None = None,
    workers: int | None = None,
    customer: Customer = Customer(),
    pairs: Sequence[tuple[str, str]] = (),
) -> Document:
    """
    Return the document of our gateway at `here`: one connection, a tunnel for each wire.

    `outer` is the family of the public addresses, `families` are those inside. `settings` stand on
    the connection. With `pairs` of an outer address here and one there, a tunnel for each of them.
    """
    pairs = pairs or list(zip(here.public(outer), there.public(outer), strict=True))[:tunnels]
    made = [
        Tunnel(
            name=tunnel_name(number),
            local=local,
            remote=None if customer.is_anywhere else customer.address or peer,
            inner=f"169.254.1{number}.0/30",
            psk=psk,
            settings={"inner_local": f"169.254.1{number}.{1 if here.name == 'a' else 2}"},
        )
        for number, ((local, peer), psk) in enumerate(zip(pairs, keys.psk, strict=False), 1)
    ]
    return Document(
        name=here.gateway.name,
        public=list(dict.fromkeys(local for local, _ in pairs)),
        cidrs=[here.lan(family) for family in families],
        connections=[
            Connection(
                name="office",
                remote_cidrs=[there.lan(family) for family in families],
                tunnels=made,
                settings=settings,
                customer={"identity": customer.identity} if customer.identity else {},
            )
        ],
        workers=workers,
    )


def bgp_document(
    here: Site,
    there: Site,
    keys: Secrets,
    asns: tuple[int, int],
    *,
    settings: Mapping[str, Value] = _NO_SETTINGS,
    pairs: Sequence[tuple[str, str]] = (),
) -> Document:
    """Return the same with BGP in the tunnels, between our AS number and the peer's."""
    ours, theirs = asns
    bgp: dict[str, Value] = {"routing": "bgp", "local_asn": ours, **settings}
    made = document(here, there, keys, settings=bgp, pairs=pairs)
    (connection,) = made.connections
    return replace(made, connections=[replace(connection, customer={"asn": theirs})])


def swan_connection(
    here: Site,
    there: Site,
    keys: Secrets,
    number: int = 1,
    *,
    outer: int = 4,
    families: tuple[int, ...] = (4,),
    ike: str = "aes256gcm16-prfsha384-x25519",
    esp: str = "aes256gcm16-x25519",
    start_action: str = "none",
    dpd_delay: str = "30s",
    dpd_action: str = "clear",
) -> SwanConnection:
    """Return strongSwan's connection for tunnel `number`; identities are the addresses."""
    local, remote = here.public(outer)[number - 1], there.public(outer)[number - 1]
    return SwanConnection(
        name=tunnel_name(number),
        local=local,
        remote=remote,
        local_id=local,
        remote_id=remote,
        psk=keys.psk[number - 1],
        ike=ike,
        dpd_delay=dpd_delay,
        child=Child(
            local_ts=tuple(here.lan(family) for family in families),
            remote_ts=tuple(there.lan(family) for family in families),
            esp=esp,
            start_action=start_action,
            dpd_action=dpd_action,
        ),
    )
