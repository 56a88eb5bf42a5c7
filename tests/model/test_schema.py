"""The JSON schema and the guide name every key; both agree with what is read."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway._native import lib
from gateway.dataplane.interface import OUTBOUND_MAX
from gateway.model.resources import (
    BorderGateway,
    CustomerGateway,
    DirectLine,
    Document,
    Gateway,
    PolicyRule,
    Route,
    Veth,
    VpcAttachment,
    VpnConnection,
    VpnTunnel,
)
from gateway.model.settings import (
    CHILD_SAS_MAX,
    SELECTORS_MAX,
    WORKERS_MAX,
    BgpSettings,
    TunnelSettings,
)

GUIDE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
SETTINGS = set(TunnelSettings.model_fields)
SECTIONS: list[tuple[str, type[BaseModel], set[str]]] = [
    ("## `[gateway]`", Gateway, set()),
    ("## `[[border_gateway]]`", BorderGateway, set()),
    ("## `[[vpc_attachment]]`", VpcAttachment, set(BgpSettings.model_fields)),
    ("## `[vpc_attachment.veth]`", Veth, set()),
    ("## `[[customer_gateway]]`", CustomerGateway, set()),
    ("## `[[vpn_connection]]`", VpnConnection, SETTINGS),
    ("## `[[vpn_connection.rule]]`", PolicyRule, set()),
    ("## `[[vpn_connection.tunnel]]`", VpnTunnel, SETTINGS),
    ("## Tunnel settings", TunnelSettings, set()),
    ("## `[[direct_line]]`", DirectLine, set(BgpSettings.model_fields)),
    ("## `[[route]]`", Route, set()),
]


def rows(heading: str) -> dict[str, str]:
    """Return key and default of every row in the tables of one section of the guide."""
    section = GUIDE.split(f"\n{heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", section, re.MULTILINE))


def default_text(field: FieldInfo) -> str:
    """Return the default of a key as the guide writes it."""
    value = field.get_default(call_default_factory=False)
    if field.is_required():
        return "required"
    if value is None:
        return "-"
    value = value.value if isinstance(value, Enum) else value
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"`{json.dumps(value)}`"


@pytest.mark.parametrize(("heading", "model", "inherited"), SECTIONS)
def test_guide_names_every_key_with_its_default(
    heading: str, model: type[BaseModel], inherited: set[str]
) -> None:
    expected = {
        name: default_text(field)
        for name, field in model.model_fields.items()
        if name not in inherited
    }
    assert rows(heading) == expected


def test_schema_is_json_and_refuses_unknown_keys_everywhere() -> None:
    schema = json.loads(json.dumps(Document.model_json_schema()))
    tables = [schema, *schema["$defs"].values()]
    objects = [table for table in tables if table.get("type") == "object"]
    assert len(objects) == 11
    assert all(table["additionalProperties"] is False for table in objects)


def test_schema_describes_every_setting_and_marks_the_key_as_secret() -> None:
    tunnel = Document.model_json_schema()["$defs"]["VpnTunnel"]["properties"]
    assert set(tunnel) == set(VpnTunnel.model_fields)
    assert all(tunnel[name].get("description") for name in tunnel)
    assert tunnel["psk"]["anyOf"][0] == {
        "format": "password",
        "type": "string",
        "writeOnly": True,
    }


def test_limits_are_those_of_the_fast_path() -> None:
    assert (SELECTORS_MAX, WORKERS_MAX) == (lib.GW_SELECTORS_MAX, lib.GW_WORKERS_MAX)
    assert CHILD_SAS_MAX == OUTBOUND_MAX == lib.GW_OUTBOUND_MAX


def test_schema_has_the_limits() -> None:
    settings = Document.model_json_schema()["$defs"]["VpnTunnel"]["properties"]
    window = settings["replay_window"]
    assert (window["minimum"], window["maximum"], window["default"]) == (64, 4096, 1024)
    assert settings["name"]["anyOf"][0]["pattern"] == "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
