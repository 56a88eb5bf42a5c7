"""What is wrong with a peer's proof of its identity, with the code that tunnels and events show."""

from __future__ import annotations

from gateway.errors import AuthenticationFailed


class NotTrusted(AuthenticationFailed):
    """
    The peer's certificate, key or signature is not good enough. The peer is told no more than
    AUTHENTICATION_FAILED; `code`, both sides' values and the hint are for our own people.

    `revoked` is the fingerprint of a certificate that the peer has proved to have, where that one
    or one above it has been revoked.
    """

    revoked = ""

    def __init__(
        self, code: str, text: str, ours: str = "", theirs: str = "", hint: str = ""
    ) -> None:
        super().__init__(text)
        self.code, self.text = code, text
        self.ours, self.theirs, self.hint = ours, theirs, hint


class BadText(ValueError):
    """A text or file of ours does not hold the certificate or key that it should."""
