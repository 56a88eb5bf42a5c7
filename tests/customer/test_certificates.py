"""Customers' devices and tunnels that authenticate otherwise than by a pre-shared key."""

from __future__ import annotations

import pytest

from gateway.customer.catalog import DEVICES, customer_config
from gateway.errors import ConfigError
from gateway.model.document import build_document
from gateway.model.resources import Document
from tests.model.test_auth import GOOD, RAW, table


def document(
    settings: dict[str, object], modes: frozenset[str] = frozenset({"static"})
) -> Document:
    if "static" not in modes:
        settings |= {"routing": "policy", "local_cidrs": ["10.1.0.0/16"]}
    made, found = build_document(table(settings, tunnel=[{"inner_cidr": "169.254.10.0/30"}]))
    assert not [one for one in found if not one.is_warning]
    return made


def test_strongswan_is_told_which_certificate_it_needs() -> None:
    made = customer_config(document({**GOOD, "remote_id": "office.test"}), "office", "strongswan")
    text = made.files[0].text
    assert "auth = psk" not in text
    assert text.count("auth = pubkey") == 2
    assert 'id = "office.test"' in text
    assert 'id = "O=Example, CN=gw"' in text
    assert "secret =" not in text
    assert "cacerts = gateway-ca.pem" in text


@pytest.mark.parametrize("device", sorted(DEVICES))
def test_a_device_without_certificates_says_so(device: str) -> None:
    modes = DEVICES[device].modes
    for settings, auth in ((GOOD, "certificate"), (RAW, "raw-key")):
        if auth in DEVICES[device].auths:
            assert customer_config(document({**settings}, modes), "office", device).files
            continue
        with pytest.raises(ConfigError, match=f"pre-shared keys only here, and auth is {auth}"):
            customer_config(document({**settings}, modes), "office", device)
