"""
The fields of each resource of the API, as pydantic models.

They are made from those of the wanted document, so a key means the same in a file and in a request.
What differs: a description and tags; no key that names a file of a gateway VM; what is made by the
control plane alone. Pure.
"""

from __future__ import annotations

import copy
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    create_model,
)

from gateway.model.problem import FILE_KEYS
from gateway.model.resources import (
    BorderGateway,
    CustomerGateway,
    DirectLine,
    Route,
    VpcAttachment,
    VpnConnection,
    VpnTunnel,
)
from gateway.model.settings import CONFIG, WORKERS_MAX
from gateway.model.types import Name, OuterAddress

DESCRIPTION_MAX = 256
TAGS_MAX = 20
TAG_KEY_MAX = 128
TAG_VALUE_MAX = 255
SET_SIZES = (2, 4, 8)  # tunnels that a connection can be made with in one request


def _text(value: str) -> str:
    """Refuse what no screen can show: control characters, halves of surrogate pairs."""
    if any(ord(c) < 32 and c not in "\n\t" for c in value) or "\x7f" in value:
        raise ValueError("has control characters")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("is not valid Unicode")
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > TAGS_MAX:
        raise ValueError(f"has {len(value)} tags, at most {TAGS_MAX}")
    for key, text in value.items():
        if not 1 <= len(key) <= TAG_KEY_MAX:
            raise ValueError(f"a key has 1 to {TAG_KEY_MAX} characters, not {len(key)}")
        if len(text) > TAG_VALUE_MAX:
            raise ValueError(f"a value has at most {TAG_VALUE_MAX} characters, not {len(text)}")
        _text(key), _text(text)
    return value


def _length(most: int) -> AfterValidator:
    def judge(value: str) -> str:
        if len(value) > most:
            raise ValueError(f"has {len(value)} characters, at most {most}")
        return value

    return AfterValidator(judge)


Text = Annotated[StrictStr, _length(DESCRIPTION_MAX), AfterValidator(_text)]
Tags = Annotated[dict[StrictStr, StrictStr], AfterValidator(_tags)]


class Described(BaseModel):
    """What every resource has beside its own fields."""

    model_config = CONFIG

    description: Text = Field(default="", description="for people, at most 256 characters")
    tags: Tags = Field(
        default_factory=dict, description="at most 20, keys of 1 to 128 characters, values to 255"
    )


def _derived(
    title: str,
    model: type[BaseModel],
    without: tuple[str, ...] = (),
    **more: tuple[Any, Any],
) -> type[BaseModel]:
    """Return the fields of a document's table without some, with those of `Described` and more."""
    left_out = {"title", *FILE_KEYS, *without}
    fields: dict[str, Any] = {
        key: (field.annotation, copy.copy(field))
        for key, field in model.model_fields.items()
        if key not in left_out and key not in more
    }
    definitions: Any = {**fields, **more}
    made: type[BaseModel] = create_model(title, __base__=Described, **definitions)
    made.__doc__ = model.__doc__
    return made


_NODE = (
    Name | None,
    Field(default=None, description="the node it is on; without it, every node of its gateway"),
)

BorderGatewaySpec = _derived(
    "BorderGatewaySpec",
    BorderGateway,
    address_pool=(
        Name | None,
        Field(
            default=None,
            description="the pool its connections get public addresses from; without it, any that"
            " the tenant may use",
        ),
    ),
)
VpcAttachmentSpec = _derived("VpcAttachmentSpec", VpcAttachment, node=_NODE)
CustomerGatewaySpec = _derived("CustomerGatewaySpec", CustomerGateway)
VpnTunnelSpec = _derived(
    "VpnTunnelSpec",
    VpnTunnel,
    vpn_connection=(Name, Field(description="the connection it belongs to")),
)
NewTunnel = _derived("NewTunnel", VpnTunnel)
VpnConnectionSpec = _derived(
    "VpnConnectionSpec",
    VpnConnection,
    ("tunnel",),
    inner_version=(
        StrictInt,
        Field(default=4, ge=4, le=6, description="IP version of allocated inner addresses: 4 or 6"),
    ),
)
NewVpnConnection = create_model(
    "NewVpnConnection",
    __base__=VpnConnectionSpec,
    __doc__="A VPN Connection, with its tunnels in one request if they are given.",
    tunnel=(
        tuple[NewTunnel, ...],  # type: ignore[valid-type] # made above
        Field(default=(), max_length=8, description="its tunnels; with this, leave out tunnels"),
    ),
    tunnels=(
        StrictInt | None,
        Field(
            default=None,
            ge=0,
            le=8,
            description="how many tunnels to make: 0, 1, 2, 4 or 8; without it 2, or 4 for a"
            " customer with four addresses, or 1 where there is a single pair of addresses",
        ),
    ),
)
DirectLineSpec = _derived("DirectLineSpec", DirectLine, node=_NODE)
RouteSpec = _derived(
    "RouteSpec",
    Route,
    name=(Name | None, Field(default=None, description="without it, the id")),
)


class AddressPoolSpec(Described):
    """Public addresses that connections get; each is an address of a node."""

    name: Name
    addresses: tuple[OuterAddress, ...] = Field(description="the addresses, each in one pool")
    exclusive: StrictBool = Field(
        default=False, description="an address is of one connection alone, not of several"
    )
    tenants: tuple[StrictStr, ...] = Field(
        default=(), description="the tenants that get addresses from it; none: all"
    )


class NodeSpec(Described):
    """A gateway VM of the fleet and the public addresses it has."""

    name: Name
    public_addresses: tuple[OuterAddress, ...] = Field(
        default=(), description="its public addresses, each on one node"
    )
    workers: Annotated[StrictInt, Field(ge=0, le=WORKERS_MAX)] = Field(
        default=0, description="data plane threads; 0 is one per CPU"
    )
    cordoned: StrictBool = Field(
        default=False, description="no new connection gets an address of it; the others stay"
    )
