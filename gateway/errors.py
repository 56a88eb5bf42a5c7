"""
The exception tree.

Two families: the peer's mistake (`PeerError`, which knows the notify that answers it) and our
caller's (`UsageError`, a bug). A parser raises `WireError` or its subclass and nothing else.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Everything that is raised on purpose."""


class UsageError(GatewayError):
    """Our own caller asked for something the state does not allow. Always a bug in this program."""


class WrongState(GatewayError):
    """The state table has no transition for this pair."""


class IntegrityError(GatewayError):
    """An ICV or tag is wrong: the message is dropped, counted, and never answered."""


class PeerError(GatewayError):
    """The peer broke the protocol. `notify` answers it (RFC 7296 section 3.10.1)."""

    notify: int = 7  # INVALID_SYNTAX

    def notify_data(self) -> bytes:
        """Return the data of the notify payload that answers this error."""
        return b""


class WireError(PeerError):
    """Not a valid encoding: INVALID_SYNTAX."""


class UnsupportedCriticalPayload(PeerError):
    """A payload type we do not know has its critical bit set (RFC 7296 section 2.5)."""

    notify = 1

    def __init__(self, payload_type: int) -> None:
        super().__init__(f"unsupported critical payload {payload_type}")
        self.payload_type = payload_type

    def notify_data(self) -> bytes:
        return bytes([self.payload_type])


class NoProposalChosen(PeerError):
    """Nothing the peer offered is acceptable (or, as initiator, the peer said so)."""

    notify = 14


class InvalidKePayload(PeerError):
    """The peer guessed a group we do not want; `group` is the one we do (RFC 7296 section 1.2)."""

    notify = 17

    def __init__(self, group: int) -> None:
        super().__init__(f"expected group {group}")
        self.group = group

    def notify_data(self) -> bytes:
        return self.group.to_bytes(2, "big")


class AuthenticationFailed(PeerError):
    """The AUTH payload is wrong, or no connection fits the identities."""

    notify = 24


class NoAdditionalSas(PeerError):
    """The peer asks for more Child SAs than one IKE SA may have (RFC 7296 section 1.3)."""

    notify = 35


class TsMaxQueue(PeerError):
    """The peer asks for one more Child SA with the selectors of others (RFC 9611 section 4)."""

    notify = 48


class UnexpectedNat(PeerError):
    """A NAT is on the way, or announced, and UDP encapsulation is forbidden."""

    notify = 41


class TsUnacceptable(PeerError):
    """Nothing of the offered traffic selectors is permitted (RFC 7296 section 2.9)."""

    notify = 38


class TemporaryFailure(PeerError):
    """The request collides with an exchange of ours: try again later (RFC 7296 section 2.25)."""

    notify = 43


class ChildSaNotFound(PeerError):
    """A rekey names a Child SA that does not exist. `spi` is the SPI the peer named, 4 bytes."""

    notify = 44

    def __init__(self, spi: int) -> None:
        super().__init__(f"no Child SA with SPI {spi:#010x}")
        self.spi = spi


class StateNotFound(PeerError):
    """A key exchange belongs to none that is under way: begin again (RFC 9370 section 2.2.4)."""

    notify = 47


class DataPlaneError(GatewayError):
    """The data plane refused a call: `code` is an `enum gw_err`, `errno` a system call's or 0."""

    def __init__(self, message: str, code: int, errno: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.errno = errno


class ConfigError(GatewayError):
    """A file or flag is wrong. Each problem names the file, the key and the value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
