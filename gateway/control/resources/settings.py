"""The settings of the control plane: their fields, defaults and limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StrictInt, create_model

from gateway.control.alarms.settings import AlarmSettings
from gateway.control.changes.allocate import INNER_RANGES as INNER_RANGES_4
from gateway.control.changes.allocate import INNER_RANGES_6
from gateway.control.changes.quotas import DEFAULTS
from gateway.control.events.settings import EventSettings
from gateway.control.waits import WaitSettings
from gateway.model.check_tunnels import INNER_RANGES
from gateway.model.settings import CONFIG
from gateway.model.types import AnyNetwork, Prefix

QUOTA_MAX = 1_000_000
RANGES_MAX = 16
SMALLEST = {4: 29, 6: 125}  # room for two networks inside


def _range(version: int) -> AfterValidator:
    def judge(network: AnyNetwork) -> AnyNetwork:
        allowed = [each for each in INNER_RANGES if each.version == version]
        if network.version != version or not any(_is_within(network, each) for each in allowed):
            raise ValueError("must lie in " + ", ".join(str(each) for each in allowed))
        if network.prefixlen > SMALLEST[version]:
            raise ValueError(f"is too small: /{SMALLEST[version]} at least")
        return network

    return AfterValidator(judge)


def _is_within(network: AnyNetwork, around: AnyNetwork) -> bool:
    if isinstance(network, IPv4Network) and isinstance(around, IPv4Network):
        return network.subnet_of(around)
    if isinstance(network, IPv6Network) and isinstance(around, IPv6Network):
        return network.subnet_of(around)
    return False


class AllocationSettings(BaseModel):
    """Where the networks inside tunnels come from."""

    model_config = CONFIG

    inner_ranges: tuple[Annotated[Prefix, _range(4)], ...] = Field(
        default=tuple(ip_network(text) for text in INNER_RANGES_4),
        min_length=1,
        max_length=RANGES_MAX,
        description="IPv4 ranges that /30s are taken from, in this order",
    )
    inner_ranges_6: tuple[Annotated[Prefix, _range(6)], ...] = Field(
        default=tuple(ip_network(text) for text in INNER_RANGES_6),
        min_length=1,
        max_length=RANGES_MAX,
        description="IPv6 ranges that /126s are taken from, in this order",
    )


QuotaSettings = create_model(
    "QuotaSettings",
    __config__=CONFIG,
    __doc__="How many resources of each kind a tenant may have.",
    **{
        name: (
            StrictInt,
            Field(default=most, ge=0, le=QUOTA_MAX, description=f"at most so many: {name}"),
        )
        for name, most in DEFAULTS.items()
    },  # type: ignore[call-overload] # the fields are a table's
)

SETTING = "setting"  # the kind that they are kept under

# The settings by name. Those of `PER_TENANT` may be set for one tenant as well.
SETTINGS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "alarms": AlarmSettings,
        "allocation": AllocationSettings,
        "events": EventSettings,
        "quotas": QuotaSettings,
        "waits": WaitSettings,
    }
)
PER_TENANT = frozenset({"quotas"})


def setting_id(name: str, tenant: str) -> str:
    """Return the id of a tenant's own setting."""
    return f"{name}:{tenant}"
