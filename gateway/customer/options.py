"""What a command line or a request says of a device, as text, judged. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.customer.device import Options
from gateway.errors import ConfigError
from gateway.model.types import parse_network

FIRST_NUMBER_MAX = 4000
WORDS_MAX = 16
# Interfaces of devices, as in "GigabitEthernet0/0/1" or "ge-0/0/0.0"; nothing that ends a word.
INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9/.:_-]{0,39}")


def options_of(
    *,
    secrets: bool = False,
    wan: Sequence[str] = (),
    lan: str | None = None,
    first_number: int = 1,
    announce: Sequence[str] = (),
) -> Options:
    """Return the options of these texts. Raises ConfigError with the name of what is wrong."""
    for option, names in (("wan_interface", wan), ("lan_interface", (lan,) if lan else ())):
        for name in names:
            if INTERFACE.fullmatch(name) is None:
                raise ConfigError([f"{option}: is no name of an interface ({name[:60]!r})"])
    if not 0 <= first_number <= FIRST_NUMBER_MAX:
        raise ConfigError([f"first_number: must be 0 to {FIRST_NUMBER_MAX} ({first_number})"])
    if len(wan) > WORDS_MAX or len(announce) > WORDS_MAX:
        raise ConfigError([f"wan_interface, announce: at most {WORDS_MAX} of them"])
    announced = []
    for text in announce:
        try:
            announced.append(parse_network(text))
        except ValueError as error:
            raise ConfigError([f"announce: {error} ({text[:60]})"]) from None
    return Options(secrets, tuple(wan), lan, first_number, tuple(announced))
