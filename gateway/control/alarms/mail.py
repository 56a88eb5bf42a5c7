"""Send a mail by SMTP with TLS, STARTTLS or, if told so, neither. Runs in a thread."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from gateway.control.alarms.deadline import connected
from gateway.control.alarms.reach import NotDelivered, Reach

TIMEOUT_S = 20.0
MOST_S = 60.0  # for all that is said to a server
_PORTS = {"tls": 465, "starttls": 587, "none": 25}
_REFUSED = 500  # from here on the server will not take it later either


class _Smtp(smtplib.SMTP):
    """SMTP over a connection that there is already; with TLS from the start or not."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        super().__init__(timeout=TIMEOUT_S)
        self._over = sock
        self._context = context

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        if self._context is None:
            return self._over
        return self._context.wrap_socket(self._over, server_hostname=host)


def send(
    spec: Mapping[str, Any],
    password: str | None,
    mail: EmailMessage,
    reach: Reach,
    context: ssl.SSLContext | None = None,
) -> None:
    """
    Send a mail by a target's server. `context` says whom TLS trusts. Raises NotDelivered.
    """
    security = spec.get("security", "starttls")
    host, port = str(spec["server"]), int(spec.get("port") or _PORTS[security])
    with connected(reach, host, port, TIMEOUT_S, MOST_S) as sock:
        _say(spec, password, mail, sock, host, port, context or ssl.create_default_context())


def _say(
    spec: Mapping[str, Any],
    password: str | None,
    mail: EmailMessage,
    sock: socket.socket,
    host: str,
    port: int,
    trust: ssl.SSLContext,
) -> None:
    security = spec.get("security", "starttls")
    smtp = _Smtp(sock, trust if security == "tls" else None)
    try:
        smtp.connect(host, port)
        smtp._host = host  # type: ignore[attr-defined]  # whose certificate STARTTLS expects
        with contextlib.closing(smtp):
            if security == "starttls":
                smtp.starttls(context=trust)
            if spec.get("username") is not None:
                smtp.login(str(spec["username"]), password or "")
            refused = smtp.send_message(mail)
    except smtplib.SMTPAuthenticationError as error:
        text = f"{host}: does not accept user name and password: {_words(error.smtp_error)}"
        raise NotDelivered(text, is_final=True) from None
    except smtplib.SMTPResponseException as error:
        text = f"{host}: answers {error.smtp_code} {_words(error.smtp_error)}"
        raise NotDelivered(text, is_final=error.smtp_code >= _REFUSED) from None
    except smtplib.SMTPRecipientsRefused as error:
        raise NotDelivered(f"{host}: takes no recipient: {_all(error.recipients)}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotDelivered(f"{host}: {error}", is_final=True) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"{host} port {port}: {str(error) or type(error).__name__}") from None
    if refused:
        raise NotDelivered(f"{host}: does not take: {_all(refused)}", is_final=True)


def _words(said: bytes | str) -> str:
    return (said.decode("utf-8", "replace") if isinstance(said, bytes) else said)[:200]


def _all(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{who} ({code} {_words(said)})" for who, (code, said) in refused.items())
