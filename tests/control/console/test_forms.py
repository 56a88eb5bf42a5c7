"""Forms from the models, and what was typed back to what the API takes."""

from __future__ import annotations

import pytest

from gateway.control.console import forms, visit
from gateway.control.console.forms import Input, fields_of, filled
from gateway.control.resources.kinds import KINDS, SECRETS


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_field_of_a_kind_is_asked_for_with_its_description(kind: object) -> None:
    assert isinstance(kind, type(KINDS["node"]))
    fields = {one.name: one for one in fields_of(kind, {}, is_new=False)}
    assert fields.keys() == kind.spec.model_fields.keys()
    for name, info in kind.spec.model_fields.items():
        assert fields[name].help == (info.description or "")
        assert fields[name].required == info.is_required()
        assert fields[name].fixed == (name in kind.fixed)
        if name in kind.secrets:
            assert fields[name].input in (Input.SECRET, Input.PEM_SECRET)


def test_what_was_typed_becomes_what_the_api_takes() -> None:
    fields = fields_of(KINDS["vpn_connection"], {}, is_new=True)
    typed = {
        "name": "office",
        "remote_cidrs": "10.0.0.0/16\r\n10.1.0.0/16",
        "liveness_s": "2.5",
        "spoke_isolation": "false",
        "tags": "a=b\nc=d=e",
        "rule": "[]",
        "psk": "  kept as it is ",
        "local_id": "  ",
    }
    table, errors = forms.request_of(fields, typed)
    assert errors == {}
    assert table == {
        "name": "office",
        "remote_cidrs": ["10.0.0.0/16", "10.1.0.0/16"],
        "liveness_s": 2.5,
        "spoke_isolation": False,
        "tags": {"a": "b", "c": "d=e"},
        "rule": [],
        "psk": "  kept as it is ",
    }


def test_any_address_of_a_customer_is_a_word_not_a_list() -> None:
    fields = fields_of(KINDS["customer_gateway"], {}, is_new=True)
    assert forms.request_of(fields, {"public_addresses": " any "})[0] == {"public_addresses": "any"}


def test_what_can_not_be_read_is_told_at_its_field_and_stays_typed() -> None:
    fields = fields_of(KINDS["vpn_connection"], {}, is_new=True)
    typed = {"liveness_s": "soon", "tags": "x", "rule": "{"}
    table, errors = forms.request_of(fields, typed)
    assert table == {}
    assert errors.keys() == typed.keys()
    again = {one.name: one for one in filled(fields, typed, errors)}
    assert again["liveness_s"].value == "soon"
    assert again["liveness_s"].error == "must be a number"


def test_a_patch_has_only_what_was_typed_otherwise() -> None:
    fields = fields_of(KINDS["vpn_tunnel"], {}, is_new=False)
    before = {"rate_mbps": "100", "tags": "a=b\nc=d", "description": "x", "name": "t"}
    typed = {**before, "rate_mbps": "", "tags": "c=e", "psk": "", "vpn_connection": "other"}
    patch, errors = forms.patch_of(fields, before, typed)
    assert errors == {}
    assert patch == {"rate_mbps": None, "tags": {"a": None, "c": "e"}}


def test_line_ends_of_a_browser_are_no_change() -> None:
    fields = fields_of(KINDS["vpn_connection"], {}, is_new=False)
    before = {"remote_cidrs": "10.0.0.0/16\n10.1.0.0/16"}
    typed = {"remote_cidrs": "10.0.0.0/16\r\n10.1.0.0/16\r\n"}
    assert forms.patch_of(fields, before, typed) == ({}, {})


def test_no_secret_that_was_typed_before_a_login_goes_into_an_address() -> None:
    typed = dict.fromkeys(SECRETS, "s3cret") | {"name": "ops"}
    assert visit._with("/console/alarm-targets/new", typed) == "/console/alarm-targets/new?name=ops"
