"""The kinds of device there are, and the way from a document to one's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gateway.customer.device import DEFAULTS, Device, Options, Rendered, make
from gateway.customer.devices.cisco import CISCO
from gateway.customer.devices.fortigate import FORTIGATE
from gateway.customer.devices.generic import GENERIC
from gateway.customer.devices.h3c import H3C
from gateway.customer.devices.huawei import HUAWEI
from gateway.customer.devices.juniper import JUNIPER
from gateway.customer.devices.libreswan import LIBRESWAN
from gateway.customer.devices.mikrotik import MIKROTIK
from gateway.customer.devices.sense import OPNSENSE, PFSENSE
from gateway.customer.devices.strongswan import (
    STRONGSWAN,
    STRONGSWAN_FRR,
    STRONGSWAN_LIBIPSEC,
)
from gateway.customer.devices.vyos import VYOS
from gateway.customer.sheet import sheet_of
from gateway.errors import ConfigError
from gateway.model.resources import Document

_ALL = (
    STRONGSWAN,
    STRONGSWAN_FRR,
    STRONGSWAN_LIBIPSEC,
    LIBRESWAN,
    VYOS,
    CISCO,
    JUNIPER,
    H3C,
    HUAWEI,
    FORTIGATE,
    MIKROTIK,
    PFSENSE,
    OPNSENSE,
    GENERIC,
)
DEVICES: Mapping[str, Device] = MappingProxyType({device.name: device for device in _ALL})


def customer_config(
    document: Document,
    connection: str,
    device: str,
    options: Options = DEFAULTS,
    only: Sequence[str] = (),
) -> Rendered:
    """
    Return the configuration of a connection for one kind of device.

    `document` is without mistakes; `only` names the tunnels that end at this device, none means
    all. Raises ConfigError with what is not there, and with what the device can not do.
    """
    found = DEVICES.get(device)
    if found is None:
        raise ConfigError(
            [f"device: there is no such one; there is: {', '.join(DEVICES)} ({device})"]
        )
    return make(found, sheet_of(document, connection, only), options)
