"""XML as a tree of elements, without entities, document types and more than a small file has."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from gateway.errors import ConfigError

BYTES_MAX = 256 * 1024
DEPTH_MAX = 16
ELEMENTS_MAX = 2000


@dataclass(slots=True)
class Element:
    """One element: its name, attributes, text without space around it, children in order."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def find(self, path: str) -> str | None:
        """Return the text of the first element at `path`, as in "ike/lifetime"; None if missing."""
        at: Element | None = self
        for name in path.split("/"):
            at = next(iter(at.all(name)), None) if at else None
        return at.text.strip() or None if at else None


class _Builder:
    """Builds the tree from expat's events."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._open) >= DEPTH_MAX:
            raise ConfigError([f"has more than {ELEMENTS_MAX} elements or {DEPTH_MAX} levels"])
        element = Element(name, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].text += data


def _refuse_doctype(*_: object) -> None:
    raise ConfigError(["has a document type (DOCTYPE), which such a file does not need"])


def parse_xml(content: bytes) -> Element:
    """Return the root element. Raises ConfigError for what is no XML, or is too much of it."""
    if len(content) > BYTES_MAX:
        raise ConfigError([f"is larger than {BYTES_MAX} bytes"])
    builder, parser = _Builder(), expat.ParserCreate()
    # Without a document type there are no entities to expand and nothing to fetch.
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ConfigError([f"line {error.lineno}: is not XML that can be read"]) from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not have
        raise ConfigError([f"is not XML that can be read: {error}"]) from None
    if builder.root is None:
        raise ConfigError(["is empty"])
    return builder.root
