"""
Why a datagram went no further: the one list. Each dropped datagram is counted under exactly one.
"""

from __future__ import annotations

from enum import Enum


class DropReason(Enum):
    """The value is the name of the counter, behind `drop.`."""

    MALFORMED = "malformed"  # not a valid header or chain
    VERSION = "version"  # major version is not 2
    EXCHANGE = "exchange"  # an exchange type we do not know, or one that cannot be here
    FLAGS = "flags"  # initiator flag or message ID that contradicts the rest
    REFLECTED = "reflected"  # our own message came back
    UNKNOWN_SPI = "unknown_spi"  # no IKE SA with these SPIs
    UNKNOWN_PEER = "unknown_peer"  # no tunnel is configured for these addresses
    REFUSED = "refused"  # answered with an error in the clear
    COOKIE_DEMANDED = "cookie_demanded"  # answered with a cookie; nothing is kept
    HALF_OPEN_LIMIT = "half_open_limit"  # too many IKE SAs wait for authentication
    BAD_ICV = "bad_icv"  # integrity check failed
    CLEAR = "clear"  # unprotected where protection is needed
    MESSAGE_ID = "message_id"  # outside the window
    REPLAYED = "replayed"  # a request that was answered: the stored response went out again
    UNEXPECTED_RESPONSE = "unexpected_response"  # answers nothing that is outstanding
    STATE = "state"  # cannot be in the state the IKE SA is in
    FRAGMENT = "fragment"  # a bad or unwanted fragment
    UNPROTECTED_ERROR = (
        "unprotected_error"  # an error notify in the clear: remembered, not believed
    )
