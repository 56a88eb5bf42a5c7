"""
Changes of the C code, as text: its operators, comparisons and numbers, and statements left out.

Each is compiled in a copy of the sources and run with its own tests, under the sanitizers as in the
test suite.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_OTHER = {
    "==": "!=",
    "!=": "==",
    "<=": "<",
    ">=": ">",
    "<": "<=",
    ">": ">=",
    "++": "--",
    "--": "++",
    "+": "-",
    "-": "+",
    "&&": "||",
    "||": "&&",
    "|=": "&=",
    "|": "&",
    "&": "|",
    ">>": "<<",
    "<<": ">>",
    "true": "false",
    "false": "true",
}
_TOKEN = re.compile(
    r"(?P<skip>/\*.*?\*/|->|#[^\n]*|_Static_assert.*?;|UINT64_C|UINT32_MAX|GW_\w+|\b\w+_t\b)"
    r"|(?P<number>\b\d+(?=u?\b))"
    r"|(?P<operator>==|!=|<=|>=|<<|>>|\+\+|--|&&|\|\||\|=|[<>+|&-]|\btrue\b|\bfalse\b)",
    re.DOTALL,
)
_STATEMENT = re.compile(
    r"^\t+(?P<statement>(?!return\b|if\b|for\b|while\b)[*a-z][\w>.*\[\]-]*(?:\(| [|^+-]?= )"
    r"(?:[^;{}\n]|(?<=[,=(+])\n)*;)$",
    re.MULTILINE,
)
_BEFORE_STATEMENT = (";", "{", "}", ")", "*/", "else")
_MOST_S = 20.0


@dataclass(frozen=True)
class Part:
    """Code that is changed."""

    source: str  # its file in csrc/
    program: str  # of tests/c/
    functions: tuple[str, ...] = ()  # of them only; none: of all the file

    @property
    def name(self) -> str:
        return f"csrc/{self.source}"

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text()


PARTS = (
    Part("replay.c", "test_replay"),
    Part("esp.c", "test_esp"),
    Part("outbound.c", "test_limits", ("tell_limit", "reserve")),
    Part("sa.c", "test_limits", ("gw_outbound_reserve_bytes", "gw_outbound_reserve_seq")),
)


def changes(source: str, functions: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield what is changed, with its line, and the whole source with it."""
    spans = [_span(source, name) for name in functions] or [(0, len(source))]
    for begin, end in spans:
        for token in _TOKEN.finditer(source, begin, end):
            if not token["skip"] and not _is_pointer(source, token):
                yield _with(source, token, _instead(token))
        for statement in _STATEMENT.finditer(source, begin, end):
            if not source[: statement.start()].rstrip().endswith(_BEFORE_STATEMENT):
                continue  # the rest of one
            at, to = statement.span("statement")
            words = " ".join(statement["statement"].split())
            yield (
                f"{_function(source, at)}: {words} is left out",
                f"{source[:at]};{source[to:]}",
            )


def _span(source: str, function: str) -> tuple[int, int]:
    """Return from where to where the definition of a function is."""
    begin = source.index(f"\n{function}(")
    return begin, source.index("\n}\n", begin)


def _function(source: str, at: int) -> str:
    """Return the name of the function that a place is in."""
    before = re.findall(r"^(\w+)\(", source[:at], re.MULTILINE)
    return before[-1] if before else "file"


def _instead(token: re.Match[str]) -> str:
    return _OTHER[token[0]] if token["operator"] else str(int(token[0]) + 1)


def _with(source: str, token: re.Match[str], new: str) -> tuple[str, str]:
    begin, end = source.rfind("\n", 0, token.start()) + 1, source.find("\n", token.end())
    at = token.start()
    changed = source[begin:at] + new + source[token.end() : end]
    words = f"{source[begin:end].strip()} becomes {changed.strip()}"
    return f"{_function(source, at)}: {words}", source[:at] + new + source[token.end() :]


def _is_pointer(source: str, token: re.Match[str]) -> bool:
    """Return whether an operator is not between two values: a sign, or the address of something."""
    before = source[: token.start()].rstrip()[-1:]
    return token[0] in "&-" and before in "(,=?:" and bool(token["operator"])


class Copy:
    """A copy of the C code and its tests, to be changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in ("csrc", "tests/c"):
            shutil.copytree(ROOT / name, root / name)

    def is_noticed(self, part: Part, source: str) -> bool:
        """Return whether the tests of a part fail, with this source of it."""
        (self._root / part.name).write_text(source)
        out = self._root / "out"
        # Unused variables and the like are no matter: a change is judged by the tests alone.
        make = ("make", "-s", f"-j{os.cpu_count() or 1}", "-C", str(self._root / "tests" / "c"))
        program = out / part.program
        subprocess.run([*make, f"OUT={out}", "WARN=-w", str(program)], check=True)
        try:
            done = subprocess.run([program], capture_output=True, timeout=_MOST_S, check=False)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0
