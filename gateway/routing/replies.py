"""
BIRD's replies to values. Pure; a text that is not BIRD's raises ReplyError and nothing else.

A reply is lines with a four digit code: `1006-` and a line that begins with a space go on, `0000 `
and a space end. Codes of 8000 are run time errors, of 9000 syntax errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from gateway.errors import GatewayError
from gateway.routing.state import BfdState, BgpState, LearnedRoute

_HEAD = re.compile(r"(\d{4})([- ])(.*)", re.DOTALL)
_PROTOCOL, _BFD, _ROUTE = 1002, 1020, 1007
_STAMP = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(?:\.\d+)?"
_PROTOCOL_LINE = re.compile(rf"(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+({_STAMP})\s*(.*)")
_BFD_LINE = re.compile(rf"(\S+)\s+(\S+)\s+(\S+)\s+({_STAMP})\s+([\d.]+)\s+([\d.]+)")
_ROUTE_LINE = re.compile(rf"(\S*)\s+(\w+) \[(\S+) ({_STAMP})[^\]]*\] (\* )?\((\d+)(?:/[^)]*)?\)")
_VIA_LINE = re.compile(r"(?:via (\S+) on (\S+)|dev (\S+))")
_FIELD = re.compile(r"([\w.]+(?: [\w.]+)*):\s+(.*)")


class BirdError(GatewayError):
    """BIRD can not be asked, or it refuses. The text has its own words."""


class Unanswered(BirdError):
    """Nobody answers at the control socket, or not in time."""


class ReplyError(BirdError):
    """What came over the control socket is no reply of BIRD's."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a reply under its code (that of the line before, where it has none)."""

    code: int
    text: str
    is_last: bool


def is_last(line: bytes) -> bool:
    """Return whether a line of BIRD's, as it came, ends a reply."""
    return line[4:5] == b" " and line[:4].isdigit()


def lines_of(reply: list[bytes]) -> list[Line]:
    """Return the lines of a reply as it came, without line ends. Raises ReplyError."""
    lines: list[Line] = []
    code = 0
    for raw in reply:
        lines.append(line_of(raw.decode("utf-8", "replace"), code))
        code = lines[-1].code
    return lines


def line_of(text: str, code: int) -> Line:
    """Return one line; `code` is that of the line before it. Raises ReplyError."""
    if text.startswith((" ", "\t")):
        return Line(code, text[1:], is_last=False)
    if text.startswith("+"):
        return Line(code, "", is_last=False)  # asynchronous: nobody asked for it
    head = _HEAD.fullmatch(text)
    if head is None:
        raise ReplyError(f"not a reply of BIRD: {text[:80]!r}")
    return Line(int(head[1]), head[3], is_last=head[2] == " ")


def parse_sessions(lines: list[Line]) -> tuple[BgpState, ...]:
    """Return the BGP sessions of `show protocols all`. Raises ReplyError."""
    found = []
    for head, block in _blocks(lines, _PROTOCOL):
        match = _PROTOCOL_LINE.fullmatch(head.rstrip())
        if match is None:
            raise ReplyError(f"not a protocol of BIRD: {head[:80]!r}")
        if match[2] == "BGP":
            found.append(_session(match, block))
    return tuple(found)


def parse_preferred(lines: list[Line]) -> dict[str, int]:
    """Return for each protocol of `show protocols all` of how many prefixes it has the best."""
    found = {}
    for head, block in _blocks(lines, _PROTOCOL):
        counts = [re.search(r"(\d{1,9}) preferred", text) for text in block]
        found[head.partition(" ")[0]] = sum(int(count[1]) for count in counts if count)
    return found


def _blocks(lines: list[Line], code: int) -> Iterator[tuple[str, list[str]]]:
    """Yield each line that carries `code` first, with the lines up to the next one."""
    head: str | None = None
    block: list[str] = []
    for line in lines:
        if line.code == code and not line.text.startswith((" ", "\t")):
            if head is not None:
                yield head, block
            head, block = line.text, []
        elif head is not None:
            block.append(line.text)
    if head is not None:
        yield head, block


def _session(head: re.Match[str], block: list[str]) -> BgpState:
    fields: dict[str, str] = {}
    for text in block:
        match = _FIELD.fullmatch(text.strip())
        if match is not None:
            fields.setdefault(match[1], match[2].strip())
    routes = {word: int(n) for n, word in re.findall(r"(\d{1,9}) (\w+)", fields.get("Routes", ""))}
    return BgpState(
        protocol=head[1],
        state=fields.get("BGP state", head[4]),
        since=head[5],
        error=fields.get("Last error", ""),
        imported=routes.get("imported", 0),
        filtered=routes.get("filtered", 0),
        exported=routes.get("exported", 0),
        limit_hit="[HIT]" in fields.get("Receive limit", ""),
        hold_s=_number(fields.get("Hold timer", "0").partition("/")[2]),
        local_asn=int(_number(fields.get("Local AS", "0"))),
        asn=int(_number(fields.get("Neighbor AS", "0"))),
        neighbor_id=fields.get("Neighbor ID", ""),
    )


def _number(text: str) -> float:
    found = re.match(r"\d{1,12}(\.\d{1,9})?", text)
    return float(found[0]) if found else 0.0


def parse_bfd(lines: list[Line]) -> tuple[BfdState, ...]:
    """Return the sessions of `show bfd sessions`. Raises ReplyError."""
    found = []
    for line in lines:
        if line.code != _BFD or not (text := line.text.strip()) or text.endswith(":"):
            continue
        match = _BFD_LINE.fullmatch(text)
        if match is not None:
            address, interface, state, since, interval, timeout = match.groups()
            found.append(
                BfdState(address, interface, state, since, _number(interval), _number(timeout))
            )
        elif not text.startswith("IP address"):
            raise ReplyError(f"not a BFD session of BIRD: {text[:80]!r}")
    return tuple(found)


def parse_routes(lines: list[Line], *, filtered: bool = False) -> tuple[LearnedRoute, ...]:
    """Return the routes of `show route all`, the best of each prefix first. Raises ReplyError."""
    found: list[LearnedRoute] = []
    prefix = ""  # stands at the first route of its prefix alone
    for head, block in _route_blocks(lines):
        match = _ROUTE_LINE.match(head)
        if match is None:
            raise ReplyError(f"not a route of BIRD: {head[:80]!r}")
        prefix = match[1] or prefix
        found.append(_route(prefix, match, block, filtered=filtered))
    return tuple(found)


def _route_blocks(lines: list[Line]) -> Iterator[tuple[str, list[str]]]:
    head: str | None = None
    block: list[str] = []
    for line in lines:
        is_route = line.code == _ROUTE and not line.text.startswith("\t")
        if is_route and line.text.strip() and not line.text.startswith("Table "):
            if head is not None:
                yield head, block
            head, block = line.text, []
        elif head is not None:
            block.append(line.text)
    if head is not None:
        yield head, block


def _route(prefix: str, match: re.Match[str], block: list[str], *, filtered: bool) -> LearnedRoute:
    vias = []
    attributes = {}
    for text in block:
        line = text.strip()
        if via := _VIA_LINE.match(line):
            vias.append((via[1] or "", via[2] or via[3]))
        elif field := _FIELD.fullmatch(line):
            attributes[field[1]] = field[2].strip()
    for name in ("BGP.local_pref", "BGP.med"):
        if not attributes.get(name, "0").isdecimal():
            raise ReplyError(f"{name} is no number: {attributes[name][:80]!r}")
    try:
        network = ip_network(prefix)
    except ValueError:
        raise ReplyError(f"not a prefix: {prefix[:80]!r}") from None
    return LearnedRoute(
        prefix=network,
        protocol=match[3],
        since=match[4],
        is_best=bool(match[5]),
        preference=int(match[6][:9]),
        vias=tuple(vias),
        is_filtered=filtered,
        attributes=attributes,
    )
