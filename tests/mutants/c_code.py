"""
Changes of the C code of the replay window, as text: its operators, comparisons and numbers.

Each is compiled and run with its own tests, under the sanitizers as in the test suite.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "csrc" / "replay.c"
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
_GCC = ("gcc", "-std=c11", "-O1", "-D_GNU_SOURCE", f"-I{ROOT / 'csrc'}")
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_MOST_S = 20.0


def changes(source: str) -> Iterator[tuple[str, str]]:
    """Yield what is changed, with its line, and the whole source with it."""
    for token in _TOKEN.finditer(source):
        if token["skip"] or _is_pointer(source, token):
            continue
        old = token[0]
        new = _OTHER[old] if token["operator"] else str(int(old) + 1)
        line = source[source.rfind("\n", 0, token.start()) + 1 : source.find("\n", token.end())]
        at = token.start() - source.rfind("\n", 0, token.start()) - 1
        changed = line[:at] + new + line[at + len(old) :]
        yield (
            f"{line.strip()} becomes {changed.strip()}",
            (source[: token.start()] + new + source[token.end() :]),
        )


def _is_pointer(source: str, token: re.Match[str]) -> bool:
    """Return whether an operator is not between two values: a sign, or the address of something."""
    before = source[: token.start()].rstrip()[-1:]
    return token[0] in "&-" and before in "(,=" and bool(token["operator"])


def build_rest(out: Path) -> None:
    """Compile what is not changed: the tests."""
    _gcc("-c", str(ROOT / "tests" / "c" / "test_replay.c"), "-o", str(out / "test_replay.o"))


def is_noticed(source: str, out: Path) -> bool:
    """Return whether the tests fail with this source."""
    changed = out / "replay.c"
    changed.write_text(source)
    _gcc(str(changed), str(out / "test_replay.o"), "-o", str(out / "test_replay"))
    try:
        done = subprocess.run(
            [str(out / "test_replay")], capture_output=True, timeout=_MOST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def _gcc(*arguments: str) -> None:
    subprocess.run([*_GCC, *_SANITIZE, *arguments], check=True, capture_output=True)
