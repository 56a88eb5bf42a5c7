"""Where alarms are told: the fields of an alarm target, as pydantic model. Pure."""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from gateway.control.alarms import template
from gateway.control.resources.specs import Described
from gateway.model.codes import CODES
from gateway.model.types import Name

RECIPIENTS_MAX = 20
SECRET_MIN = 16  # characters: what is shorter can be guessed from one message
WEBHOOK_FIELDS = ("url", "webhook_secret")
MAIL_FIELDS = ("server", "port", "username", "smtp_password", "sender", "recipients", "subject")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.fragment:
        raise ValueError("must have no user name, password or fragment")
    if len(text) > 2048 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has characters that no URL has, or more than 2048")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has no valid port") from None
    return text


def _address(text: str) -> str:
    name, at, domain = text.rpartition("@")
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(' ,;<>"()')
    if not (at and name and domain and is_plain and len(text) <= 254):
        raise ValueError("is no mail address, as in ops@example.org")
    return text


def _codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    for code in codes:
        if code not in CODES:
            raise ValueError(f"{code[:64]!r} is no code of docs/events.md")
    return codes


def _host(text: str) -> str:
    is_plain = all(c.isascii() and (c.isalnum() or c in ".-:") for c in text)
    if not 1 <= len(text) <= 253 or not is_plain:
        raise ValueError("is no host name or address")
    return text


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not SECRET_MIN <= len(text) <= 256 or not text.isascii() or not text.isprintable():
        raise ValueError(f"must have {SECRET_MIN} to 256 characters of ASCII that print")
    return value


def _template(text: str) -> str:
    template.judge(text)
    return text


Template = Annotated[StrictStr, AfterValidator(_template)]
MailAddress = Annotated[StrictStr, AfterValidator(_address)]


class AlarmTargetSpec(Described):
    """A place that is told of alarms: a webhook, or mail addresses."""

    name: Name = Field(description="unique among the tenant's targets")
    type: Literal["webhook", "mail"] = Field(description="webhook or mail")
    enabled: StrictBool = Field(default=True, description="false: nothing is sent")
    codes: Annotated[tuple[StrictStr, ...], Field(max_length=100), AfterValidator(_codes)] = Field(
        default=(), description="only alarms with these codes; none means all"
    )
    min_severity: Literal["info", "warning", "error"] = Field(
        default="warning", description="only alarms that matter at least so much"
    )
    tell_cleared: StrictBool = Field(default=True, description="also when an alarm is over")
    url: Annotated[StrictStr, AfterValidator(_url)] | None = Field(
        default=None, description="webhook: where each alarm is posted as JSON"
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        default=None, description="webhook: key of the signature, 16 to 256 characters"
    )
    server: Annotated[StrictStr, AfterValidator(_host)] | None = Field(
        default=None, description="mail: the SMTP server"
    )
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = Field(
        default=None, description="mail: 465 with tls, else 587, unless set"
    )
    security: Literal["tls", "starttls", "none"] = Field(
        default="starttls", description="mail: how the connection is protected"
    )
    username: Annotated[StrictStr, Field(max_length=256)] | None = Field(
        default=None, description="mail: logs in with it and smtp_password"
    )
    smtp_password: SecretStr | None = Field(default=None, description="mail: see username")
    sender: MailAddress | None = Field(default=None, description="mail: from this address")
    recipients: Annotated[tuple[MailAddress, ...], Field(max_length=RECIPIENTS_MAX)] = Field(
        default=(), description="mail: to these addresses, at most 20"
    )
    subject: Template | None = Field(default=None, description="mail: template of the subject")
    body: Template | None = Field(
        default=None, description="template of the text; of a webhook it must make JSON"
    )

    @model_validator(mode="after")
    def _fits_its_type(self) -> AlarmTargetSpec:
        given = {name for name in type(self).model_fields if getattr(self, name) not in (None, ())}
        is_mail = self.type == "mail"
        wrong = given & set(WEBHOOK_FIELDS if is_mail else MAIL_FIELDS)
        if wrong:
            raise ValueError(f"{sorted(wrong)[0]} is not for a target of type {self.type}")
        for name in ("server", "sender", "recipients") if is_mail else ("url",):
            if name not in given:
                raise ValueError(f"a target of type {self.type} needs {name}")
        if is_mail and self.security == "none" and self.username is not None:
            raise ValueError('a password is not sent in clear: security = "none" with username')
        if not is_mail and self.body is not None:
            _judge_json(self.body)
        return self


def _judge_json(text: str) -> None:
    try:
        json.loads(template.rendered(text, template.SAMPLE))
    except ValueError as error:
        raise ValueError(
            f"body: does not make JSON ({error}); values need the filter tojson"
        ) from None
