"""What a resource stands on, and what it claims for itself alone. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record

CLAIM = "claim"
USES = "uses"
# They can not go while others refer to them, so they have an object that counts these.
COUNTED = frozenset(
    {"border_gateway", "customer_gateway", "vpn_connection", "node", "address_pool"}
)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def parents_of(record: Record) -> tuple[str, ...]:
    """Return the ids that a resource refers to, each once, as set and as allocated."""
    kind = KINDS.get(record.kind)
    if kind is None:
        return ()
    found = [record.of(field) for field in kind.references]
    found += [record.allocated.get(field) for field in ("customer_gateway", "node")]
    return tuple(dict.fromkeys(str(id) for id in found if id))


def claims_of(record: Record) -> tuple[str, ...]:
    """
    Return the ids of the claims that a resource has: what no other may have at the same time.

    They are objects that are made and end with it, so the store itself keeps them unique.
    """
    return tuple(dict.fromkeys(claim_id(text) for text in _claimed(record)))


def _claimed(record: Record) -> Iterator[str]:
    if record.kind in KINDS and record.kind != "vpn_tunnel" and record.value.get("name"):
        yield f"name:{record.tenant}:{record.kind}:{record.name}"
    match record.kind:
        case "vpn_tunnel":
            local, remote = record.of("local_address"), record.of("remote_address")
            if local and remote:
                yield f"pair:{local}:{remote}"
            if inner := record.of("inner_cidr"):
                for place in record.allocated.get("within", ()):
                    yield f"inner:{place}:{inner}"
        case "vpn_connection":
            for address in record.allocated.get("exclusive", ()):
                yield f"address:{address}"
        case "node":
            for address in record.spec.get("public_addresses", ()):
                yield f"node-address:{address}"
        case "address_pool":
            for address in record.spec.get("addresses", ()):
                yield f"pool-address:{address}"


def claim_id(text: str) -> str:
    """Return the id of a claim: the text itself where an id may be so, else with a hash."""
    plain = text.replace("/", "_")
    if _PLAIN.fullmatch(plain):
        return plain
    return (
        re.sub(r"[^A-Za-z0-9._:@-]", "_", plain)[:80]
        + ":"
        + hashlib.sha256(text.encode()).hexdigest()[:32]
    )
