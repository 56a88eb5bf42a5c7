"""Alarm targets, their texts, and where they may be."""

from __future__ import annotations

import hashlib
import hmac
import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.control.alarms import template
from gateway.control.alarms.message import (
    Message,
    is_for,
    mail_of,
    signed,
    webhook_body,
)
from gateway.control.alarms.reach import Reach
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.alarms.target import AlarmTargetSpec

HOOK = {"name": "hook", "type": "webhook", "url": "https://hooks.example.org/x"}
MAIL = {
    "name": "mail",
    "type": "mail",
    "server": "smtp.example.org",
    "sender": "vpn@example.org",
    "recipients": ["ops@example.org"],
}
MESSAGE = Message("alarm-aaaaaaaaaa-1-raised", "main", template.SAMPLE)


@pytest.mark.parametrize("spec", [HOOK, MAIL])
def test_a_target_needs_little(spec: dict[str, Any]) -> None:
    assert AlarmTargetSpec.model_validate(spec).enabled


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (HOOK | {"url": "ftp://example.org"}, "must begin with https"),
        (HOOK | {"url": "https://user:pw@example.org"}, "no user name"),
        (HOOK | {"url": "https://example.org:99999"}, "no valid port"),
        (HOOK | {"url": "https://ex ample.org/"}, "characters that no URL has"),
        (HOOK | {"url": None}, "needs url"),
        (HOOK | {"server": "a.example.org"}, "server is not for a target of type webhook"),
        (HOOK | {"webhook_secret": "short"}, "16 to 256"),
        (HOOK | {"body": "{{ text }}"}, "does not make JSON"),
        (HOOK | {"codes": ["none"]}, "is no code"),
        (HOOK | {"colour": "red"}, "Extra inputs"),
        (MAIL | {"recipients": ["ops"]}, "is no mail address"),
        (MAIL | {"recipients": ["a@b.org\nBcc: x@y.org"]}, "is no mail address"),
        (MAIL | {"recipients": []}, "needs recipients"),
        (MAIL | {"security": "none", "username": "u"}, "not sent in clear"),
        (MAIL | {"subject": "{% for x in y %}{% endfor %}"}, "has for"),
        (MAIL | {"body": "{{ nothing }}"}, "fails with an alarm"),
        (MAIL | {"server": "a b"}, "no host name"),
    ],
)
def test_mistakes_are_told(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AlarmTargetSpec.model_validate(change)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 10 ** 9 }}",
        "{{ 'a' * 1000000 }}",
        "{% for a in range(9) %}x{% endfor %}",
        "{{ ''.__class__ }}",
        "{{ text.format(1) }}",
        "{% set a = 1 %}",
        "{{ range(3) }}",
        "{% macro a() %}{% endmacro %}",
        "{% include 'x' %}",
        "{{ text | center(1000000000) }}",
        "{{ [1, 2] }}",
        "{{ text",
        "{% if %}",
        "(" * 3000 + "{{ " + "(" * 1000 + " }}",
    ],
)
def test_a_template_can_do_nothing_but_fill_in_values(text: str) -> None:
    with pytest.raises(ValueError, match=r"has|is no template|fails"):
        template.judge(text)


@given(st.text(st.sampled_from("{}%|. abtext()'\"~+*-[]if=\n"), max_size=40))
def test_any_text_is_a_template_or_a_mistake(text: str) -> None:
    try:
        template.judge(text)
    except ValueError:
        return
    template.rendered(text, template.SAMPLE)


def test_a_webhooks_text_may_be_the_tenants_own() -> None:
    body = '{"text": {{ (severity | upper) ~ ": " ~ text | tojson }}}'
    spec = {"body": '{"text": {{ text | tojson }}, "level": {{ severity | upper | tojson }}}'}
    made = json.loads(webhook_body(spec, MESSAGE))
    assert made == {"text": template.SAMPLE["text"], "level": "WARNING"}
    # What fails gives way to the plain form: an alarm is never lost by it.
    assert json.loads(webhook_body({"body": "{{ none }}"}, MESSAGE))["code"] == "tunnel_down"
    assert json.loads(webhook_body({"body": body}, MESSAGE))


def test_the_signature_is_of_time_and_body() -> None:
    headers = signed(b"{}", b"key", 1000.9)
    assert headers == {
        "X-Twinspan-Timestamp": "1000",
        "X-Twinspan-Signature": "sha256="
        + hmac.new(b"key", b"1000.{}", hashlib.sha256).hexdigest(),
    }


def test_a_mail_has_what_a_person_needs() -> None:
    mail = mail_of(MAIL, MESSAGE, 1_764_086_400.0)
    assert mail["Subject"].startswith("[warning] tunnel office-1 is down")
    assert mail["To"] == "ops@example.org"
    assert mail["Date"] == "Tue, 25 Nov 2025 16:00:00 +0000"
    text = mail.get_content()
    assert "Look at: is the peer running?" in text
    assert "vpn_tunnel: office-1 (tun-aaaaaaaaaa)" in text
    own = mail_of(MAIL | {"subject": "{{ code }}\n{{ text }}", "body": "{{ title }}"}, MESSAGE, 0.0)
    assert own.get_content() == "Tunnel down\n"
    assert "\n" not in own["Subject"]


@pytest.mark.parametrize(
    ("spec", "event", "severity", "told"),
    [
        ({}, "raised", "warning", True),
        ({}, "raised", "info", False),
        ({"min_severity": "error"}, "raised", "warning", False),
        ({"codes": ["node_lost"]}, "raised", "error", False),
        ({"codes": ["tunnel_down"]}, "raised", "error", True),
        ({"tell_cleared": False}, "cleared", "error", False),
        ({}, "cleared", "error", True),
        ({"enabled": False}, "raised", "error", False),
        ({"enabled": False}, "test", "info", True),
    ],
)
def test_a_target_is_told_what_it_asks_for(
    spec: dict[str, Any], event: str, severity: str, told: bool
) -> None:
    values = {**template.SAMPLE, "event": event, "severity": severity}
    assert is_for(spec, Message("x", "main", values)) is told


@pytest.mark.parametrize(
    ("address", "main", "acme"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("10.0.0.7", True, False),
        ("fd00::7", True, False),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("100.64.0.1", False, False),
    ],
)
def test_targets_are_at_public_addresses_or_where_the_operator_allows(
    address: str, main: bool, acme: bool
) -> None:
    both = [Reach(AlarmSettings(), tenant) for tenant in ("main", "acme")]
    allowed = [each.allows(ip_address(address)) for each in both]
    assert allowed == [main, acme]
    everywhere = AlarmSettings.model_validate({"target_networks": ["0.0.0.0/0", "::/0"]})
    assert Reach(everywhere, "acme").allows(ip_address(address))
    strict = AlarmSettings(private_of_main=False)
    assert not Reach(strict, "main").allows(ip_address("10.0.0.7"))
