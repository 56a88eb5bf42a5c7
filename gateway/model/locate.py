"""
Finds the line on which a key stands in a TOML text: `tomllib` does not keep it.

The text has been read by `tomllib` before, so this scanner trusts its syntax and only follows its
shape: table headers, dotted keys, arrays, inline tables, strings and comments. A path is a tuple of
keys and list positions, as in `("vpn_connection", 0, "tunnel", 1, "psk")`.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")
_BARE = re.compile(r"""[^ \t\r\n.=\]},#\[{"']+""")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_INSIDE = {  # what stands between the quotes of a string, by its closing ones
    '"': re.compile(r'(?:[^"\\]+|\\.)*+', re.DOTALL),
    "'": re.compile(r"[^']*"),
    '"""': re.compile(r'(?:[^"\\]+|\\.|"(?!""))*+', re.DOTALL),
    "'''": re.compile(r"(?:[^']+|'(?!''))*+"),
}


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key, table and list element of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Return the line of `path`, or that of the nearest thing around it; 1 if nothing is."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 1


class _Scanner:
    """One pass over a TOML text. `lines` is the result."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counts: dict[Path, int] = {}  # tables of each array of tables so far

    def scan(self) -> None:
        table: Path = ()
        while self._skip_blank():
            line = self._line
            if self._text.startswith("[[", self._at):
                self._advance(2)
                table = self._new_element(self._key("]"), line)
                self._advance(2)
            elif self._peek() == "[":
                self._advance(1)
                table = self._resolve(self._key("]"))
                self._mark(table, line)
                self._advance(1)
            else:
                self._pair(table)

    def _new_element(self, key: tuple[str, ...], line: int) -> Path:
        array = (*self._resolve(key[:-1]), key[-1])
        position = self._counts.get(array, 0)
        self._counts[array] = position + 1
        self._mark(array, line)
        self._mark((*array, position), line)
        return (*array, position)

    def _resolve(self, key: tuple[str, ...]) -> Path:
        """Return the path of a header's key: within an array of tables it means the last table."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line
        path = table
        for part in self._key("="):
            path = (*path, part)
            self._mark(path, line)
        self._advance(1)
        self._value(path)

    def _value(self, path: Path) -> None:
        """Pass one value. Nesting is kept on a list, not on the stack: it may be deep."""
        open_ones: list[tuple[Path, str, int]] = []  # path, closing bracket, next position
        self._begin(path, open_ones)
        while open_ones:
            self._skip_blank()
            around, closing, position = open_ones.pop()
            if self._peek() == ",":
                self._advance(1)
                open_ones.append((around, closing, position))
            elif self._peek() in (closing, ""):
                self._advance(1)
            elif closing == "]":
                open_ones.append((around, closing, position + 1))
                self._mark((*around, position), self._line)
                self._begin((*around, position), open_ones)
            else:
                open_ones.append((around, closing, position))
                inner = around
                for part in self._key("="):
                    inner = (*inner, part)
                    self._mark(inner, self._line)
                self._advance(1)
                self._begin(inner, open_ones)

    def _begin(self, path: Path, open_ones: list[tuple[Path, str, int]]) -> None:
        """Pass a value that is a scalar, or open a list or inline table."""
        while self._peek() in (" ", "\t"):
            self._advance(1)
        match self._peek():
            case "[":
                self._advance(1)
                open_ones.append((path, "]", 0))
            case "{":
                self._advance(1)
                open_ones.append((path, "}", 0))
            case '"' | "'":
                self._string()
            case _:
                self._pass(_SCALAR)

    def _key(self, end: str) -> tuple[str, ...]:
        """Pass a dotted key up to `end`, which stays, and return its parts."""
        parts: list[str] = []
        while self._peek() not in (end, ""):
            char = self._peek()
            if char in ('"', "'"):
                start = self._at
                self._string()
                parts.append(tomllib.loads("k=" + self._text[start : self._at])["k"])
            elif bare := self._pass(_BARE):
                parts.append(bare)
            else:
                self._advance(1)
        return tuple(parts)

    def _string(self) -> None:
        quote = self._peek()
        closing = quote * (3 if self._text.startswith(quote * 3, self._at) else 1)
        self._advance(len(closing))
        self._pass(_INSIDE[closing])
        self._advance(len(closing))
        while len(closing) == 3 and self._peek() == quote:  # two may stand before the closing three
            self._advance(1)

    def _skip_blank(self) -> bool:
        """Pass white space and comments. Return whether anything follows."""
        self._pass(_BLANK)
        return self._at < len(self._text)

    def _pass(self, pattern: re.Pattern[str]) -> str:
        """Pass what a pattern finds here, if it does, and return it."""
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._advance(found.end() - self._at)
        return found[0]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def _mark(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)
