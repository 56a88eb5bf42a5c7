"""What every device has in common: what is refused, what is noted, what the options do."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest

from gateway.customer.catalog import DEVICES, customer_config
from gateway.customer.device import Options
from gateway.customer.sheet import device_lifetime
from gateway.customer.text import label
from gateway.errors import ConfigError
from tests.customer.documents import MODES, Edit, as_text, refusal, rendered
from tests.support.documents import CONNECTION, FIRST, document


def test_an_unknown_connection_device_or_tunnel_is_named() -> None:
    known = document(*MODES["bgp"])
    with pytest.raises(ConfigError, match=r"there is: office \(offfice\)"):
        customer_config(known, "offfice", "strongswan")
    with pytest.raises(ConfigError, match=r"there is: strongswan, .* \(pix\)"):
        customer_config(known, "office", "pix")
    with pytest.raises(ConfigError, match=r"there is: office-1, office-2 \(office-3\)"):
        customer_config(known, "office", "strongswan", only=["office-3"])


def test_a_device_gets_the_tunnels_that_end_at_it() -> None:
    known = document(*MODES["bgp"])
    made = as_text(customer_config(known, "office", "cisco-ios-xe", only=["office-2"]))
    assert "office-2" in made
    assert "office-1" not in made


def test_a_list_without_anything_the_device_has_is_refused_with_what_it_lacks() -> None:
    words = refusal("cisco-ios-xe", "bgp", ((*FIRST, "ike_proposals"), ["aes256-sha256-x25519"]))
    assert words == (
        "vpn_connection[office].tunnel[office-1].ike_proposals: Cisco IOS XE has no x25519: add a"
        " proposal that it can do (aes256-sha256-x25519)"
    )
    esn = ["aes256gcm16-ecp384-esn"]
    words = refusal("strongswan-libipsec", "bgp", ((*FIRST, "esp_proposals"), esn))
    assert "esp_proposals" in words
    assert "has no esn" in words


def test_what_the_device_is_given_instead_is_said() -> None:
    made = rendered("cisco-ios-xe", "static", ((*FIRST, "ike_proposals"), []))
    (note,) = [note for note in made.notes if note.startswith("ike_proposals")]
    assert "instead of aes256gcm16-prfsha384-x25519" in note
    assert "given aes256gcm16-prfsha384-ecp384" in note


def test_proposals_with_ml_kem_are_told_to_strongswan_6() -> None:
    defaults: Edit = ((*FIRST, "ike_proposals"), [])
    text = as_text(rendered("strongswan", "static", defaults))
    (told,) = re.findall(r"# strongSwan 6 with ML-KEM .*: (.*)", text)
    (used, _) = re.findall(r"^    proposals = (.*)$", text, re.MULTILINE)
    assert "ke1_mlkem768" in told
    assert "mlkem" not in used


def test_bgp_needs_prefixes_to_announce() -> None:
    nothing: Edit = ((*CONNECTION, "remote_cidrs"), [])
    assert "--announce" in refusal("strongswan", "bgp", nothing)
    options = Options(announced=(ip_network("10.99.0.0/16"),))
    assert "10.99.0.0/16" in as_text(rendered("strongswan", "bgp", nothing, options=options))


def test_ipv6_is_refused_where_the_texts_do_not_know_it() -> None:
    inner = ((*FIRST, "inner_cidr"), "fd00:1::/126")
    assert "IPv4 only" in refusal("cisco-ios-xe", "static", inner)
    assert "fd00:1::2/126" in as_text(rendered("strongswan", "static", inner))


def test_a_post_quantum_key_goes_to_those_who_have_it_and_is_refused_elsewhere() -> None:
    key: tuple[Edit, ...] = (((*FIRST, "ppk"), "0x" + "a7" * 32), ((*FIRST, "ppk_id"), "pq.office"))
    text = as_text(rendered("strongswan", "static", *key))
    assert 'ppk_id = "pq.office"' in text
    assert "ppk_required = yes" in text
    assert f'secret = "0x{"a7" * 32}"' in text
    assert "a7a7" not in as_text(rendered("strongswan", "static", *key, options=Options()))
    assert "ppk_required = false" in refusal("cisco-ios-xe", "static", *key)
    without: Edit = ((*FIRST, "ppk_required"), False)
    made = rendered("cisco-ios-xe", "static", *key, without)
    assert "office-1: ppk: this device goes without it" in made.notes


def test_a_key_of_bytes_goes_as_hexadecimal_or_is_refused() -> None:
    coded = ((*FIRST, "psk"), "0x00112233445566778899aabbccddeeff")
    assert 'secret = "0x0011' in as_text(rendered("strongswan", "static", coded))
    assert "pre-shared-key hex 0011" in as_text(rendered("cisco-ios-xe", "static", coded))


@pytest.mark.parametrize(
    "key", ['a"quoted" key; with # all', "back\\slash and ?questions?", "ключ" * 5]
)
@pytest.mark.parametrize("device", [name for name in DEVICES if name != "generic"])
def test_no_key_breaks_out_of_its_place(device: str, key: str) -> None:
    """It goes as hexadecimal, is quoted, or is refused; never as it is."""
    mode = next(mode for mode in MODES if mode in DEVICES[device].modes)
    try:
        said = as_text(rendered(device, mode, ((*CONNECTION, "psk"), key)))
    except ConfigError as error:
        said = error.problems[0]
    assert key not in said


@pytest.mark.parametrize("device", DEVICES)
def test_an_identity_with_quotes_is_for_people_alone(device: str) -> None:
    """RFC 5322 allows much in front of the @."""
    mode = next(mode for mode in MODES if mode in DEVICES[device].modes)
    edit: Edit = ((*FIRST, "local_id"), "a\"';$`|b@gw.test")
    if device == "generic":
        assert "b@gw.test" in as_text(rendered(device, mode, edit))
    else:
        assert "has no identities of this kind" in refusal(device, mode, edit)


def test_the_device_rekeys_after_the_gateway_or_well_before_it() -> None:
    assert device_lifetime(14400, 86400) == 17280
    assert device_lifetime(86400, 86400) == 64800  # it can not have more
    assert device_lifetime(1_000_000, 86400) == 86400


def test_a_name_that_a_device_can_not_have_depends_on_itself_alone() -> None:
    assert label("office-1", 15) == "office-1"
    long = label("a-name.that-is-long", 15)
    assert len(long) == 15
    assert long != label("a-name.that-is-lonG", 15)
    assert label("a.b") != label("a-b")
