"""
Instructions by source function, counted by callgrind: the same in every run, whatever else the
machine does. A function that the compiler put into another one keeps its own count, by its lines.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab.commands import LabError

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
# The tree's style: a definition's name stands at the beginning of a line, its type before it.
_DEFINITION = re.compile(r"^([a-z_]\w*)\(")
_LIBRARIES = ["-lcrypto", "-pthread"]
_OPTIONS = ["-std=gnu11", "-O2", "-g", "-fvisibility=hidden", "-fstack-protector-strong"]


@dataclass(frozen=True, slots=True)
class Where:
    """A function: of `csrc` its file's name, of a library the library's."""

    file: str
    function: str


@dataclass(slots=True)
class Profile:
    """What was counted: instructions by function, and calls of functions by name."""

    instructions: Counter[Where] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)


def build(directory: Path) -> Path:
    """Compile `tests/c/stages.c` with the fast path, as optimised as the product, and return it."""
    program = directory / "stages"
    words = ["gcc", *_OPTIONS, "-D_GNU_SOURCE", f"-I{CSRC}", f"-I{ROOT / 'tests/c'}"]
    libraries = list(_LIBRARIES)
    if Path("/usr/include/intel-ipsec-mb.h").exists():
        words.append("-DGW_HAVE_IPSECMB=1")
        libraries.append("-lIPSec_MB")
    sources = [ROOT / "tests/c/stages.c", *sorted(CSRC.glob("*.c"))]
    _run([*words, "-o", str(program), *map(str, sources), *libraries])
    return program


def count(program: Path, arguments: list[str], function: str) -> tuple[Profile, int]:
    """Run `program`; return what was counted within `function`, and the number it printed."""
    out = program.with_suffix(".callgrind")
    words = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
    words += ["--compress-strings=no", "--compress-pos=no", f"--toggle-collect={function}"]
    printed = _run([*words, str(program), *arguments])
    return read(out.read_text()), int(printed)


def _run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise LabError(f"{words[0]}: {done.stderr[-1000:]}")
    return done.stdout


def read(text: str) -> Profile:
    """Return the profile in callgrind's output format, written without compression."""
    profile = Profile()
    sources: dict[str, _Source] = {}
    library = file = function = called = ""
    lines = iter(text.splitlines())
    for line in lines:
        key, equals, value = line.partition("=")
        if key == "calls":
            profile.calls[called] += int(value.split()[0])
            next(lines)  # what the callee took is counted there
        elif equals and key in ("ob", "fl", "fi", "fe", "fn", "cfn"):
            if key == "ob":
                library = Path(value).name
            elif key == "cfn":
                called = value
            elif key == "fn":
                function = value
            else:
                file = value
        elif line[:1].isdigit():
            number, instructions = map(int, line.split())
            where = Where(library, function)
            if Path(file).parent == CSRC:
                source = sources.setdefault(file, _Source(Path(file)))
                where = Where(Path(file).name, source.function(number))
            profile.instructions[where] += instructions
    return profile


class _Source:
    """Which function a line of a source file is in."""

    def __init__(self, path: Path) -> None:
        matches = map(_DEFINITION.match, path.read_text().splitlines())
        found = [(number, match[1]) for number, match in enumerate(matches, 1) if match]
        self._starts = [number for number, _ in found]
        self._names = [name for _, name in found]

    def function(self, line: int) -> str:
        at = bisect_right(self._starts, line)
        return self._names[at - 1] if at else ""
